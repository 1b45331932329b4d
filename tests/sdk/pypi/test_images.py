"""Calls every Images method of Cloudflare's SDK on the emulator, and checks results and errors."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Iterator

import httpx
from cloudflare import (
    APIStatusError,
    AsyncCloudflare,
    AuthenticationError,
    BadRequestError,
    Cloudflare,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
)
from cloudflare._resource import SyncAPIResource

from support import (
    ACCOUNT,
    GIF,
    JPEG,
    SVG,
    TEN_MB,
    WEBP,
    Origin,
    Recorded,
    connect,
    deliver,
    png,
    sign,
    size_of,
    unique,
    upload,
    web,
)

client = connect()
v1, v2 = client.images.v1, client.images.v2
me = {"account_id": ACCOUNT}

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{10}"
PUBLIC_ID = re.compile(_UUID + "00")
PRIVATE_ID = re.compile(_UUID + "01")


def resources(resource: Any, path: str = "") -> Iterator[tuple[Any, str]]:
    """A resource of the SDK and its subresources, each with its path."""
    yield resource, path
    for name in dir(type(resource)):
        if name.startswith("_") or name.startswith("with_"):
            continue
        below = getattr(resource, name)
        if isinstance(below, SyncAPIResource):
            yield from resources(below, f"{path}{name}.")


def methods() -> list[tuple[Any, str, str]]:
    """Every method of the resources below ``images``: its class, name and path."""
    return [
        (resource, name, path + name)
        for resource, path in resources(client.images)
        for name, value in vars(type(resource)).items()
        if not name.startswith("_") and callable(value)
    ]


METHODS = methods()
called: set[str] = set()


def _note(resource: Any, name: str, path: str) -> None:
    real: Callable[..., Any] = getattr(resource, name)

    def noting(*args: Any, **kwargs: Any) -> Any:
        called.add(path)
        return real(*args, **kwargs)

    setattr(resource, name, noting)


def setUpModule() -> None:
    unittest.addModuleCleanup(web.close)
    unittest.addModuleCleanup(client.close)


# Each method of the SDK records that it was called; the last test fails if one was not.
for _method in METHODS:
    _note(*_method)


def create(**fields: Any) -> Any:
    return v1.create(**{**me, "file": ("tiny.png", png(), "image/png"), **fields})


def newer(**fields: Any) -> Any:
    """Creates an image with a later upload time than all before it: times are stored in milliseconds."""
    time.sleep(0.003)
    return create(**fields)


def variant_url(image: Any, name: str = "public") -> str:
    return next(url for url in image.variants if url.endswith(f"/{name}"))


def ids(images: Any) -> list[str]:
    return [image.id for image in images]


def metadata_of(size: int) -> dict[str, str]:
    return {"a": "x" * (size - len('{"a":""}'))}


def soon(minutes: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(minutes=minutes)


def blob_of(image_id: str) -> bytes:
    return v1.blobs.get(image_id, **me).read()


class Suite(unittest.TestCase):
    maxDiff = None

    @contextmanager
    def refused(self, kind: type[APIStatusError], status: int, code: int, text: str = "") -> Iterator[None]:
        """Asserts that a call fails with that class, status and code, in Cloudflare's envelope."""
        with self.assertRaises(APIStatusError) as raised:
            yield
        error = raised.exception
        self.assertIs(type(error), kind, error.body)
        self.assertEqual(error.status_code, status, error.body)
        self.assertEqual([problem.code for problem in error.errors], [code], error.body)
        self.assertRegex(error.errors[0].message or "", text or ".")
        body: Any = error.body
        rest = {name: value for name, value in body.items() if name != "errors"}
        self.assertEqual(rest, {"result": None, "success": False, "messages": []})
        self.assertTrue(error.response.headers["content-type"].startswith("application/json"))


class Create(Suite):
    def test_a_file_with_everything_said_about_it(self) -> None:
        creator = unique()
        metadata = {"album": "été", "n": 7, "ok": True, "none": None, "list": [1, "two"]}
        image = v1.create(
            **me,
            file=("naïve photo.png", png()),
            metadata=json.dumps(metadata),
            creator=creator,
            require_signed_urls=False,
        )
        self.assertEqual(
            set(image.to_dict()),
            {"id", "filename", "meta", "uploaded", "requireSignedURLs", "variants", "creator"},
        )
        self.assertRegex(image.id, PUBLIC_ID)
        self.assertEqual(image.filename, "naïve photo.png")
        self.assertEqual(image.meta, metadata)
        self.assertLess(abs(datetime.now(timezone.utc) - image.uploaded), timedelta(minutes=1))
        self.assertIs(image.require_signed_urls, False)
        self.assertEqual(image.creator, creator)
        self.assertRegex(variant_url(image), rf"/imagedelivery/[\w-]{{22}}/{image.id}/public$")
        delivered = deliver(variant_url(image))
        self.assertEqual(delivered.status_code, 200)
        self.assertEqual(size_of(delivered.content), (3, 2))

    def test_nothing_said_about_it(self) -> None:
        image = create()
        self.assertEqual(set(image.to_dict()), {"id", "filename", "uploaded", "requireSignedURLs", "variants"})
        self.assertEqual(image.filename, "tiny.png")

    def test_bare_bytes(self) -> None:
        image = create(file=png())
        self.assertEqual(image.filename, "upload")
        self.assertEqual(blob_of(image.id), png())

    def test_metadata_as_an_object_which_the_sdk_flattens_to_text(self) -> None:
        image = create(metadata={"a": "x", "b": {"c": "y", "d": {"e": "ü z"}}, "f": ["p", "q"], "n": 5})
        self.assertEqual(image.meta, {"a": "x", "b": {"c": "y", "d": {"e": "ü z"}}, "f": ["p", "q"], "n": "5"})

    def test_every_format_whatever_type_is_declared(self) -> None:
        pictures = [
            (png(), "image/png"),
            (JPEG, "image/jpeg"),
            (GIF, "image/gif"),
            (WEBP, "image/webp"),
            (SVG, "image/svg+xml"),
        ]
        for data, kind in pictures:
            with self.subTest(kind):
                image = create(file=data)
                blob = v1.blobs.get(image.id, **me)
                self.assertEqual(blob.headers["content-type"], kind)
                self.assertEqual(blob.read(), data)
                self.assertEqual(deliver(variant_url(image), kind).status_code, 200)

    def test_custom_ids_work_in_every_call(self) -> None:
        base = unique()
        odd = ["/grüße 日本", "/100%25 off", "/a+b&c=d;e,f", "/what?now#here"]
        for tail in ["", "/shoes/red.jpg", *odd, "/keys", "/x/blob"]:
            with self.subTest(tail):
                name = base + tail
                image = create(id=name)
                self.assertEqual(image.id, name)
                self.assertEqual(v1.get(name, **me).id, name)
                self.assertEqual(blob_of(name), png())
                self.assertEqual(v1.edit(name, **me, metadata={"tail": tail}).meta, {"tail": tail})
                self.assertEqual(deliver(variant_url(image)).status_code, 200, variant_url(image))
                self.assertEqual(v1.delete(name, **me), {})

    def test_custom_ids_of_1024_characters_and_of_characters_that_are_not_bytes(self) -> None:
        name = unique() + "ä" * 900
        self.assertEqual(create(id=name).id, name)
        longest = unique().ljust(1024, "z")
        self.assertEqual(v1.get(create(id=longest).id, **me).id, longest)

    def test_a_private_image_has_another_kind_of_id_and_needs_a_signature(self) -> None:
        image = create(require_signed_urls=True)
        self.assertRegex(image.id, PRIVATE_ID)
        self.assertIs(image.require_signed_urls, True)
        url = variant_url(image)
        unsigned = deliver(url)
        self.assertEqual(unsigned.status_code, 403)
        self.assertRegex(unsigned.text, "^ERROR 9425: ")
        key = v1.keys.list(**me).keys[0].value
        self.assertEqual(deliver(sign(url, key)).status_code, 200)
        self.assertEqual(deliver(sign(url, key, 1)).status_code, 403)
        self.assertEqual(deliver(sign(url, "another")).status_code, 403)
        self.assertEqual(blob_of(image.id), png())

    def test_10_mb_are_accepted_and_one_byte_more_is_not(self) -> None:
        image = create(file=("big.png", png(size=TEN_MB)))
        blob = v1.blobs.get(image.id, **me)
        self.assertEqual(blob.headers["content-length"], str(TEN_MB))
        self.assertEqual(len(blob.read()), TEN_MB)
        v1.delete(image.id, **me)
        with self.refused(APIStatusError, 413, 5413, "10 MB"):
            create(file=("big.png", png(size=TEN_MB + 1)))

    def test_12000_pixels_are_accepted_and_one_more_is_not(self) -> None:
        create(file=png(12_000, 1))
        with self.refused(BadRequestError, 400, 5443):
            create(file=png(12_001, 1))

    def test_1024_bytes_of_metadata_are_accepted_and_one_more_is_not(self) -> None:
        def as_text(size: int) -> str:
            return json.dumps(metadata_of(size), separators=(",", ":"))

        self.assertEqual(create(metadata=as_text(1024)).meta, metadata_of(1024))
        with self.refused(BadRequestError, 400, 5400, "1024"):
            create(metadata=as_text(1025))
        self.assertEqual(create(metadata=metadata_of(1024)).meta, metadata_of(1024))
        with self.refused(BadRequestError, 400, 5400, "1024"):
            create(metadata=metadata_of(1025))

    def test_refuses_metadata_that_is_no_object(self) -> None:
        for metadata in ["[1]", '"text"', '{"a":', "a=b"]:
            with self.subTest(metadata), self.refused(BadRequestError, 400, 5400, "metadata"):
                create(metadata=metadata)

    def test_refuses_a_creator_of_more_than_1024_characters(self) -> None:
        self.assertEqual(len(create(creator="ö" * 1024).creator), 1024)
        with self.refused(BadRequestError, 400, 5400, "creator"):
            create(creator="ö" * 1025)

    def test_refuses_a_custom_id_that_is_taken_and_keeps_the_image_that_has_it(self) -> None:
        name = unique()
        create(id=name, metadata={"first": "yes"})
        with self.refused(ConflictError, 409, 5409, "already exists"):
            create(id=name, file=png(9, 9))
        self.assertEqual(blob_of(name), png())
        self.assertEqual(v1.get(name, **me).meta, {"first": "yes"})

    def test_of_four_creates_of_one_id_at_once_one_wins(self) -> None:
        name = unique()

        def attempt(_: int) -> int:
            try:
                v1.create(**me, id=name, file=png())
            except APIStatusError as error:
                return error.status_code
            return 200

        with ThreadPoolExecutor(4) as pool:
            self.assertEqual(sorted(pool.map(attempt, range(4))), [200, 409, 409, 409])

    def test_refuses_bad_custom_ids(self) -> None:
        bad = [
            ("058aae72-ae47-4a27-8f79-dd0ca9e87601", "Must not be UUID$"),
            ("058AAE72-AE47-4A27-8F79-DD0CA9E87601", "Must not be UUID$"),
            ("/leading", "The Custom ID is invalid"),
            ("trailing/", "The Custom ID is invalid"),
            ("x" * 1025, "1024 characters"),
            ("manual.pdf", "Must not use a non-image file name extension$"),
            ("a/../b", "The Custom ID is invalid"),
        ]
        for name, text in bad:
            with self.subTest(name[:40]), self.refused(BadRequestError, 400, 5411, text):
                create(id=name)

    def test_refuses_a_private_image_with_a_custom_id(self) -> None:
        name = unique()
        with self.refused(BadRequestError, 400, 5400, "custom ID"):
            create(id=name, require_signed_urls=True)
        with self.refused(NotFoundError, 404, 5404):
            v1.get(name, **me)

    def test_refuses_what_is_no_picture_and_damaged_ones(self) -> None:
        with self.refused(APIStatusError, 415, 5455, "image/jpeg, image/png"):
            create(file=("a.png", b"no picture at all", "image/png"))
        with self.refused(APIStatusError, 415, 5455):
            create(file=("empty.png", b""))
        with self.refused(APIStatusError, 415, 9422, "error during decoding"):
            create(file=("cut.png", png()[:45]))
        with self.refused(APIStatusError, 415, 9422):
            create(file=("cut.jpg", JPEG[:640]))

    def test_refuses_neither_file_nor_url_and_both_at_once(self) -> None:
        with self.refused(BadRequestError, 400, 5400, "Error parsing form fields"):
            v1.create(**me)
        with self.refused(BadRequestError, 400, 5400):
            create(url="http://127.0.0.1/a.png")

    def test_refuses_a_body_that_is_no_form(self) -> None:
        with self.refused(APIStatusError, 415, 5415, "as a form"):
            client.post(f"/accounts/{ACCOUNT}/images/v1", body={"url": "http://127.0.0.1/"}, cast_to=object)


class CreateFromUrl(Suite):
    origin: Origin

    @classmethod
    def setUpClass(cls) -> None:
        cls.origin = Origin().__enter__()
        cls.addClassCleanup(cls.origin.__exit__)

    def fetched(self, path: str, **fields: Any) -> Any:
        return v1.create(**me, url=path if ":" in path else self.origin.url + path, **fields)

    def test_stores_what_the_origin_has_under_the_last_part_of_the_path(self) -> None:
        name = unique()
        image = self.fetched(
            f"{self.origin.url}/pictures/a%20lake.png?size=full",
            id=name,
            metadata={"from": "afar"},
            creator=name,
        )
        self.assertEqual((image.id, image.filename, image.creator), (name, "a lake.png", name))
        self.assertEqual(image.meta, {"from": "afar"})
        self.assertEqual(blob_of(name), png(5, 4))

    def test_private_redirected_and_with_name_and_password(self) -> None:
        moved = self.fetched("/moved.png", require_signed_urls=True)
        self.assertRegex(moved.id, PRIVATE_ID)
        self.assertEqual(blob_of(moved.id), png(5, 4))
        members = f"{self.origin.url}/members/cat.png"
        self.assertEqual(self.fetched(members.replace("://", "://ann:s3cret@")).filename, "cat.png")
        with self.refused(BadRequestError, 400, 5454, "401"):
            self.fetched(members)

    def test_refuses_what_cannot_be_fetched(self) -> None:
        with Origin() as closed:
            pass
        troubles = [
            ("/missing.png", "404"),
            ("/broken", "500"),
            ("ftp://127.0.0.1/a.png", "Unsupported protocol"),
            ("no:url", ""),
            (f"{closed.url}/a.png", ""),
        ]
        for url, text in troubles:
            with self.subTest(url), self.refused(BadRequestError, 400, 5454, text):
                self.fetched(url)

    def test_refuses_images_of_its_own_delivery_host(self) -> None:
        for url in [variant_url(create()), "https://imagedelivery.net/hash/id/public"]:
            with self.subTest(url), self.refused(BadRequestError, 400, 5454):
                self.fetched(url)

    def test_refuses_what_is_no_picture_what_is_too_large_and_an_id_that_is_taken(self) -> None:
        with self.refused(APIStatusError, 415, 5455):
            self.fetched("/page.html")
        with self.refused(APIStatusError, 413, 5413):
            self.fetched("/huge.png")
        taken = create(id=unique()).id
        with self.refused(ConflictError, 409, 5409):
            self.fetched("/moved.png", id=taken)


class Get(Suite):
    def test_answers_what_create_answered(self) -> None:
        image = create(metadata={"a": "b"}, creator=unique())
        self.assertEqual(v1.get(image.id, **me), image)

    def test_finds_custom_ids_whose_slashes_come_raw(self) -> None:
        name = create(id=f"{unique()}/b/c").id
        answer: Any = client.get(f"/accounts/{ACCOUNT}/images/v1/{name}", cast_to=object)
        self.assertEqual(answer["result"]["id"], name)

    def test_refuses_what_does_not_exist(self) -> None:
        for name in ["058aae72-ae47-4a27-8f79-dd0ca9e87600", "no/such image"]:
            with self.subTest(name), self.refused(NotFoundError, 404, 5404, "Image not found"):
                v1.get(name, **me)


class Edit(Suite):
    def test_replaces_metadata_and_creator_and_leaves_the_rest(self) -> None:
        image = create(metadata={"a": "1", "b": "2"}, creator="before")
        edited = v1.edit(image.id, **me, metadata={"b": 3, "c": {"d": [True, None]}})
        self.assertEqual(edited.to_dict(), {**image.to_dict(), "meta": {"b": 3, "c": {"d": [True, None]}}})
        owned = v1.edit(image.id, **me, creator="after")
        self.assertEqual(owned.to_dict(), {**edited.to_dict(), "creator": "after"})
        unowned = v1.edit(image.id, **me, creator="")
        self.assertNotIn("creator", unowned.to_dict())
        self.assertEqual(v1.edit(image.id, **me), unowned)
        self.assertEqual(v1.get(image.id, **me), unowned)

    def test_a_change_of_access_changes_the_id_and_back(self) -> None:
        image = create(metadata={"kept": "yes"})
        self.assertEqual(v1.edit(image.id, **me, require_signed_urls=False).id, image.id)
        hidden = v1.edit(image.id, **me, require_signed_urls=True)
        self.assertRegex(hidden.id, PRIVATE_ID)
        self.assertIs(hidden.require_signed_urls, True)
        self.assertEqual(hidden.meta, {"kept": "yes"})
        self.assertIn(hidden.id, variant_url(hidden))
        with self.refused(NotFoundError, 404, 5404):
            v1.get(image.id, **me)
        self.assertEqual(deliver(variant_url(image)).status_code, 404)
        self.assertEqual(deliver(variant_url(hidden)).status_code, 403)
        shown = v1.edit(hidden.id, **me, require_signed_urls=False)
        self.assertRegex(shown.id, PUBLIC_ID)
        self.assertEqual(deliver(variant_url(shown)).status_code, 200)
        with self.refused(NotFoundError, 404, 5404):
            v1.get(hidden.id, **me)

    def test_refuses_to_make_an_image_with_a_custom_id_private(self) -> None:
        image = create(id=unique())
        with self.refused(BadRequestError, 400, 5400, "contains a custom ID and cannot be set to private"):
            v1.edit(image.id, **me, require_signed_urls=True, metadata={"a": "b"})
        self.assertEqual(v1.get(image.id, **me), image)

    def test_refuses_an_unknown_id_too_much_metadata_and_values_of_another_type(self) -> None:
        with self.refused(NotFoundError, 404, 5404):
            v1.edit("nobody", **me, metadata={})
        name = create().id
        self.assertEqual(v1.edit(name, **me, metadata=metadata_of(1024)).meta, metadata_of(1024))
        bad: list[dict[str, Any]] = [
            {"metadata": metadata_of(1025)},
            {"metadata": "text"},
            {"require_signed_urls": "yes"},
            {"creator": "c" * 1025},
        ]
        for fields in bad:
            with self.subTest(list(fields)), self.refused(BadRequestError, 400, 5400):
                v1.edit(name, **me, **fields)


class Delete(Suite):
    def test_answers_an_empty_object_and_nothing_is_left(self) -> None:
        image = create(creator=unique())
        self.assertEqual(v1.delete(image.id, **me), {})
        for call in (v1.get, v1.blobs.get, v1.delete):
            with self.refused(NotFoundError, 404, 5404, "Image not found"):
                call(image.id, **me)
        self.assertEqual(v2.list(**me, creator=image.creator).images, [])
        gone = deliver(variant_url(image))
        self.assertEqual(gone.status_code, 404)
        self.assertRegex(gone.text, "^ERROR 9431: ")

    def test_frees_a_custom_id(self) -> None:
        name = unique()
        create(id=name)
        v1.delete(name, **me)
        create(id=name)


class ListV1(Suite):
    @staticmethod
    def listed(**params: Any) -> list[dict[str, Any]]:
        """The images in the response; the SDK's page class looks for another member."""
        page = v1.list(**me, **params)
        return page.result.model_extra["images"]

    def test_pages_by_number_newest_first_and_the_sdk_itself_finds_nothing(self) -> None:
        creator = unique()
        made = [newer(creator=creator).id for _ in range(12)][::-1]
        for page, expected in [(1, made[:10]), (2, made[10:]), (3, [])]:
            found = [image["id"] for image in self.listed(creator=creator, per_page=10, page=page)]
            self.assertEqual(found, expected)
        # The SDK's page class looks for `items`. If there were any, it would request further pages.
        recorded = Recorded()
        with connect(http_client=httpx.Client(transport=recorded)) as counting:
            self.assertEqual(list(counting.images.v1.list(**me, creator=creator)), [])
        self.assertEqual(recorded.log, [200])

    def test_an_entry_is_what_create_answered(self) -> None:
        creator = unique()
        image = create(creator=creator, metadata={"a": "b"})
        raw = v1.with_raw_response.list(**me, creator=creator).json()
        self.assertEqual((raw["success"], raw["errors"], raw["messages"]), (True, [], []))
        shown = image.to_dict(mode="json") | {"uploaded": _millis(image.uploaded)}
        self.assertEqual(raw["result"], {"images": [shown]})

    def test_by_creator_and_without_drafts(self) -> None:
        creator = unique()
        owned, unowned = create(creator=creator), create()
        draft = v2.direct_uploads.create(**me, creator=creator)
        self.assertEqual([image["id"] for image in self.listed(creator=creator)], [owned.id])
        self.assertEqual(self.listed(creator=unique()), [])
        found = {image["id"] for image in self.listed(per_page=10_000)}
        self.assertLessEqual({owned.id, unowned.id}, found)
        self.assertNotIn(draft.id, found)
        # This SDK drops empty parameters, so images without creator cannot be requested.
        found = {image["id"] for image in self.listed(creator="", per_page=10_000)}
        self.assertLessEqual({owned.id, unowned.id}, found)

    def test_refuses_bad_pages(self) -> None:
        bad: list[dict[str, Any]] = [{"page": 0}, *({"per_page": size} for size in (0, 9, 10_001, "many"))]
        for params in bad:
            with self.subTest(params), self.refused(BadRequestError, 400, 5400, "page"):
                v1.list(**me, **params)


def _millis(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


class Blobs(Suite):
    def test_gets_the_bytes_as_they_came_with_their_type_and_length(self) -> None:
        image = create(file=("a.jpg", JPEG))
        blob = v1.blobs.get(image.id, **me)
        self.assertEqual(blob.status_code, 200)
        self.assertEqual(blob.headers["content-type"], "image/jpeg")
        self.assertEqual(blob.headers["content-length"], str(len(JPEG)))
        self.assertEqual(blob.read(), JPEG)
        with v1.blobs.with_streaming_response.get(image.id, **me) as streamed:
            self.assertEqual(b"".join(streamed.iter_bytes(100)), JPEG)

    def test_refuses_unknown_ids_and_drafts(self) -> None:
        for name in ["nobody", v2.direct_uploads.create(**me).id]:
            with self.subTest(name), self.refused(NotFoundError, 404, 5404):
                v1.blobs.get(name, **me)


class Keys(Suite):
    def test_two_keys_at_most_rotation_and_never_none(self) -> None:
        def by_name(answer: Any) -> dict[str, str]:
            return {key.name: key.value for key in answer.keys}

        fresh = by_name(v1.keys.list(**me))
        self.assertEqual(list(fresh), ["default"])
        first = fresh["default"]
        self.assertGreaterEqual(len(first), 32)
        url = variant_url(create(require_signed_urls=True))

        def opens(key: str) -> bool:
            return deliver(sign(url, key)).status_code == 200

        self.assertTrue(opens(first))

        two = by_name(v1.keys.update("second2", **me))
        self.assertEqual(set(two), {"default", "second2"})
        self.assertEqual(two["default"], first)
        self.assertNotEqual(two["second2"], first)
        self.assertEqual(by_name(v1.keys.list(**me)), two)
        self.assertTrue(opens(first) and opens(two["second2"]))

        with self.refused(PermissionDeniedError, 403, 5453, "service limit"):
            v1.keys.update("third", **me)
        self.assertEqual(by_name(v1.keys.list(**me)), two)

        rotated = by_name(v1.keys.update("default", **me))
        self.assertEqual(set(rotated), {"default", "second2"})
        self.assertNotEqual(rotated["default"], first)
        self.assertEqual(rotated["second2"], two["second2"])
        self.assertEqual([opens(first), opens(rotated["default"]), opens(two["second2"])], [False, True, True])

        one = by_name(v1.keys.delete("second2", **me))
        self.assertEqual(one, {"default": rotated["default"]})
        self.assertFalse(opens(two["second2"]))
        anew = by_name(v1.keys.delete("default", **me))
        self.assertEqual(list(anew), ["default"])
        self.assertNotEqual(anew["default"], one["default"])
        self.assertEqual(by_name(v1.keys.list(**me)), anew)
        self.assertEqual([opens(one["default"]), opens(anew["default"])], [False, True])

    def test_refuses_unknown_and_malformed_names(self) -> None:
        with self.refused(NotFoundError, 404, 5404):
            v1.keys.delete("nobody", **me)
        for name in ["not-alphanumeric", "a b", "ä", "a/b"]:
            with self.subTest(name), self.refused(BadRequestError, 400, 5400, "alphanumeric"):
                v1.keys.update(name, **me)


class Stats(Suite):
    def test_counts_images_not_drafts(self) -> None:
        before = v1.stats.get(**me).count
        self.assertEqual(before.allowed, 100_000)
        image = create()
        v2.direct_uploads.create(**me)
        now = v1.stats.get(**me).count
        self.assertEqual((now.current, now.allowed), (before.current + 1, 100_000))
        v1.delete(image.id, **me)
        self.assertEqual(v1.stats.get(**me).count, before)


class Variants(Suite):
    options = {"fit": "cover", "width": 40, "height": 30, "metadata": "none"}

    def make(self, name: str, **fields: Any) -> Any:
        answer = v1.variants.create(**{**me, "id": name, "options": self.options, **fields})
        if name != "public":
            self.addCleanup(self.remove, name)
        return answer

    @staticmethod
    def remove(name: str) -> None:
        try:
            v1.variants.delete(name, **me)
        except NotFoundError:
            pass

    @staticmethod
    def listed() -> dict[str, Any]:
        """All variants. The SDK's model has a member only for the variant in the documentation's example."""
        return v1.variants.list(**me).variants.to_dict()

    def test_public_is_there_from_the_start_and_stays(self) -> None:
        standard = {
            "id": "public",
            "options": {"fit": "scale-down", "width": 1366, "height": 768, "metadata": "none"},
            "neverRequireSignedURLs": False,
        }
        self.assertEqual(v1.variants.get("public", **me).to_dict(), {"variant": standard})
        self.assertEqual(v1.variants.delete("public", **me), {})
        self.assertEqual(self.listed()["public"], standard)
        with self.refused(ConflictError, 409, 5409):
            self.make("public")

    def test_create_get_list_edit_delete(self) -> None:
        # The only name in the SDK's model.
        self.make("hero")
        self.assertEqual(v1.variants.list(**me).variants.hero.options.width, 40)
        name = unique("thumb")
        variant = {"id": name, "options": self.options, "neverRequireSignedURLs": False}
        self.assertEqual(self.make(name).to_dict(), {"variant": variant})
        self.assertEqual(v1.variants.get(name, **me).to_dict(), {"variant": variant})
        self.assertEqual(self.listed()[name], variant)
        image = create(file=png(80, 80))
        self.assertEqual(image.variants, [variant_url(image, each) for each in sorted(self.listed())])
        self.assertEqual(size_of(deliver(variant_url(image, name)).content), (40, 30))

        smaller = {"fit": "scale-down", "width": 20, "height": 20, "metadata": "copyright"}
        edited = v1.variants.edit(name, **me, options=smaller, never_require_signed_urls=True)
        self.assertEqual(
            edited.to_dict(), {"variant": {"id": name, "options": smaller, "neverRequireSignedURLs": True}}
        )
        self.assertEqual(size_of(deliver(variant_url(image, name)).content), (20, 20))
        again = v1.variants.edit(name, **me, options=self.options)
        self.assertEqual(again.to_dict(), {"variant": {**variant, "neverRequireSignedURLs": True}})
        self.assertEqual(v1.variants.get(name, **me).to_dict(), again.to_dict())
        # The values of the documentation, as the SDK's type of number.
        some: Any = {"width": 350.0, "height": 350.0}
        wider = v1.variants.edit(name, **me, options=some).to_dict()["variant"]
        self.assertEqual(wider["options"], {**self.options, "width": 350, "height": 350})
        self.assertIs(wider["neverRequireSignedURLs"], True)

        self.assertEqual(v1.variants.delete(name, **me), {})
        with self.refused(NotFoundError, 404, 5401, "Variant not found"):
            v1.variants.get(name, **me)
        self.assertNotIn(name, self.listed())
        gone = deliver(variant_url(image, name))
        self.assertEqual(gone.status_code, 403)
        self.assertRegex(gone.text, "^ERROR 9425: .*variant with this name")
        left = [url for url in image.variants if not url.endswith(name)]
        self.assertEqual(v1.get(image.id, **me).variants, left)

    def test_every_fit_has_the_size_it_promises(self) -> None:
        images = [create(file=png(60, 40)), create(file=png(12, 8))]
        sizes = {
            "scale-down": [(30, 20), (12, 8)],
            "contain": [(30, 20), (30, 20)],
            "cover": [(30, 30), (30, 30)],
            "crop": [(30, 30), (12, 8)],
            "pad": [(30, 30), (30, 30)],
        }
        for fit, expected in sizes.items():
            with self.subTest(fit):
                name = unique("fit")
                self.make(name, options={"fit": fit, "width": 30, "height": 30, "metadata": "keep"})
                urls = [variant_url(v1.get(image.id, **me), name) for image in images]
                self.assertEqual([size_of(deliver(url).content) for url in urls], expected)

    def test_a_variant_that_never_requires_signatures_shows_private_images(self) -> None:
        name = unique("open")
        self.make(name, never_require_signed_urls=True)
        image = create(require_signed_urls=True)
        self.assertEqual(deliver(variant_url(image, name)).status_code, 200)
        self.assertEqual(deliver(variant_url(image)).status_code, 403)
        v1.variants.edit(name, **me, options=self.options, never_require_signed_urls=False)
        self.assertEqual(deliver(variant_url(image, name)).status_code, 403)

    def test_refuses_duplicates_and_bad_names(self) -> None:
        name = unique("dup")
        self.make(name)
        with self.refused(ConflictError, 409, 5409, "already exists"):
            self.make(name)
        for bad in ["with-hyphen", "with_underscore", "with space", "ä", "", "x" * 100]:
            with self.subTest(bad), self.refused(BadRequestError, 400, 5400, "variant name"):
                self.make(bad)
        self.make("x" * 99)

    def test_refuses_bad_options_on_create_and_on_edit(self) -> None:
        name = unique("bad")
        self.make(name)
        bad: list[tuple[dict[str, Any], str]] = [
            ({**self.options, "fit": "squeeze"}, "squeeze"),
            ({**self.options, "metadata": "all"}, "all"),
            ({**self.options, "width": 0}, "width"),
            ({**self.options, "height": 10_000}, "height"),
            ({**self.options, "width": "wide"}, "wide"),
            ({**self.options, "sharpen": 3}, "sharpen"),
        ]
        for options, text in bad:
            with self.subTest(text):
                with self.refused(BadRequestError, 400, 5400, text):
                    self.make(unique("bad"), options=options)
                with self.refused(BadRequestError, 400, 5400, text):
                    v1.variants.edit(name, **me, options=options)
        path = f"/accounts/{ACCOUNT}/images/v1/variants"
        with self.refused(BadRequestError, 400, 5400, "missing field `options`"):
            client.post(path, body={"id": unique("bad")}, cast_to=object)
        self.assertEqual(v1.variants.get(name, **me).to_dict()["variant"]["options"], self.options)

    def test_refuses_unknown_names(self) -> None:
        with self.refused(NotFoundError, 404, 5401):
            v1.variants.get("nobody", **me)
        with self.refused(NotFoundError, 404, 5401):
            v1.variants.edit("nobody", **me, options=self.options)
        with self.refused(NotFoundError, 404, 5401):
            v1.variants.delete("nobody", **me)

    def test_refuses_the_101st(self) -> None:
        for _ in range(100 - len(self.listed())):
            self.make(unique("many"))
        with self.refused(PermissionDeniedError, 403, 5453, "service limit"):
            self.make(unique("many"))
        self.assertEqual(len(self.listed()), 100)


class ListV2(Suite):
    creator = unique()
    made: list[Any]

    @classmethod
    def setUpClass(cls) -> None:
        metadata: list[dict[str, Any]] = [
            {"status": "active", "priority": 1, "enabled": True, "region": {"name": "eu-west"}, "tag": "a b"},
            {"status": "active", "priority": 2.5, "enabled": False, "region": {"name": "us-east"}},
            {"status": "deleted", "priority": 10, "l1": {"l2": {"l3": {"l4": {"l5": "deep"}}}}},
            {"status": "true", "priority": "5"},
        ]
        cls.made = [newer(creator=cls.creator, metadata=json.dumps(each)) for each in metadata]
        cls.made.append(newer(creator=cls.creator))

    def listed(self, **params: Any) -> Any:
        return v2.list(**{**me, "creator": self.creator, "sort_order": "asc", **params})

    def matching(self, meta: Any, **params: Any) -> list[int]:
        """Indices of the images that a filter finds, in the order of their creation."""
        order = ids(self.made)
        return [order.index(image.id) for image in self.listed(meta=meta, **params).images]

    def test_whole_by_upload_time_newest_first_unless_asked_otherwise(self) -> None:
        page = self.listed()
        self.assertEqual([image.to_dict() for image in page.images], [image.to_dict() for image in self.made])
        self.assertIsNone(page.continuation_token)
        self.assertEqual(ids(v2.list(**me, creator=self.creator).images), ids(self.made)[::-1])
        self.assertEqual(ids(self.listed(sort_order="desc").images), ids(self.made)[::-1])

    def test_pages_by_continuation_token_in_both_orders(self) -> None:
        for order, expected in [("asc", ids(self.made)), ("desc", ids(self.made)[::-1])]:
            with self.subTest(order):
                found, sizes, token = [], [], None
                while len(sizes) < 5:
                    more = {"continuation_token": token} if token else {}
                    page = self.listed(sort_order=order, per_page=2, **more)
                    found += ids(page.images)
                    sizes.append(len(page.images))
                    token = page.continuation_token
                    if token is None:
                        break
                self.assertEqual(sizes, [2, 2, 1])
                self.assertEqual(found, expected)
        self.assertIsNone(self.listed(per_page=5).continuation_token)

    def test_a_page_stays_where_it_is_when_images_come_and_go(self) -> None:
        owner = unique()
        three = [newer(creator=owner).id for _ in range(3)]
        first = v2.list(**me, creator=owner, per_page=2)
        self.assertEqual(ids(first.images), [three[2], three[1]])
        v1.delete(three[1], **me)
        newer(creator=owner)
        second = v2.list(**me, creator=owner, per_page=2, continuation_token=first.continuation_token)
        self.assertEqual(ids(second.images), [three[0]])

    def test_refuses_tokens_of_other_lists_and_no_tokens_at_all(self) -> None:
        token = self.listed(per_page=2).continuation_token
        bad: list[dict[str, Any]] = [
            {"sort_order": "desc", "continuation_token": token},
            {"meta": {"status[eq]": "active"}, "continuation_token": token},
            {"creator": unique(), "continuation_token": token},
            {"continuation_token": "nonsense"},
        ]
        for params in bad:
            with self.subTest(list(params)), self.refused(BadRequestError, 400, 5400, "continuation_token"):
                self.listed(**params)

    def test_by_creator(self) -> None:
        self.assertEqual(v2.list(**me, creator=unique()).images, [])
        # This SDK drops empty parameters, so images without creator cannot be requested.
        found = ids(v2.list(**me, creator="", per_page=1000).images)
        self.assertIn(self.made[0].id, found)

    def test_drafts_are_not_listed(self) -> None:
        owner = unique()
        draft = v2.direct_uploads.create(**me, creator=owner)
        self.assertEqual(v2.list(**me, creator=owner).images, [])
        upload(draft.upload_url)
        self.assertEqual(ids(v2.list(**me, creator=owner).images), [draft.id])

    def test_every_metadata_operator(self) -> None:
        cases: list[tuple[dict[str, Any], list[int]]] = [
            ({"status[eq]": "active"}, [0, 1]),
            ({"status[eq:string]": "active"}, [0, 1]),
            ({"status[eq:string]": "true"}, [3]),
            ({"tag[eq]": "a b"}, [0]),
            ({"enabled[eq:boolean]": "true"}, [0]),
            ({"enabled[eq:boolean]": False}, [1]),
            ({"status[eq:boolean]": "true"}, []),
            ({"priority[eq:number]": 10}, [2]),
            ({"priority[eq:number]": "2.50"}, [1]),
            ({"priority[eq:number]": "5"}, []),
            ({"priority[eq:string]": "5"}, [3]),
            ({"priority[eq:string]": "10"}, []),
            ({"status[in]": "deleted|true|gone"}, [2, 3]),
            ({"status[in:string]": "active|deleted"}, [0, 1, 2]),
            ({"priority[in:number]": "1|10|11"}, [0, 2]),
            ({"priority[gt]": "1"}, [1, 2]),
            ({"priority[gt:number]": 2.5}, [2]),
            ({"priority[gte]": "2.5"}, [1, 2]),
            ({"priority[gte:number]": "1"}, [0, 1, 2]),
            ({"priority[lt]": "10"}, [0, 1]),
            ({"priority[lt:number]": "1"}, []),
            ({"priority[lte]": "1"}, [0]),
            ({"priority[lte:number]": "2.5"}, [0, 1]),
            ({"region.name[eq]": "us-east"}, [1]),
            ({"region": {"name[in]": "us-east|eu-west"}}, [0, 1]),
            ({"l1.l2.l3.l4.l5[eq]": "deep"}, [2]),
            ({"absent[eq]": "x"}, []),
            ({"status[in]": "a|b|c|d|e|f|g|h|i|deleted"}, [2]),
        ]
        for meta, expected in cases:
            with self.subTest(meta):
                self.assertEqual(self.matching(meta), expected)

    def test_filters_hold_together_and_page(self) -> None:
        five = {
            "status[eq]": "active",
            "priority[gt]": "0",
            "priority[lt]": "2",
            "enabled[eq:boolean]": "true",
            "region.name[eq]": "eu-west",
        }
        cases: list[tuple[dict[str, str], list[int]]] = [
            ({"status[eq]": "active", "priority[gt]": "1"}, [1]),
            ({"priority[gte:number]": "2", "priority[lte:number]": "9"}, [1]),
            ({"priority[eq:number]": "5", "priority[lte:number]": "3"}, []),
            (five, [0]),
        ]
        for meta, expected in cases:
            with self.subTest(meta):
                self.assertEqual(self.matching(meta), expected)
        active = {"status[eq]": "active"}
        token = self.listed(meta=active, per_page=1).continuation_token
        self.assertEqual(self.matching(active, per_page=1, continuation_token=token), [1])

    def test_refuses_a_sixth_filter_a_sixth_level_an_eleventh_value(self) -> None:
        with self.refused(BadRequestError, 400, 5400, "5"):
            self.listed(meta={f"f{n}[eq]": "x" for n in range(6)})
        with self.refused(BadRequestError, 400, 5400, "5"):
            self.listed(meta={"a.b.c.d.e.f[eq]": "x"})
        eleven = "|".join(map(str, range(11)))
        for operator in ["in", "in:string", "in:number"]:
            with self.subTest(operator), self.refused(BadRequestError, 400, 5400, "10"):
                self.listed(meta={f"a[{operator}]": eleven})

    def test_refuses_bad_fields_operators_and_values(self) -> None:
        bad: list[dict[str, str]] = [
            {"status[ne]": "active"},
            {"status[eq:date]": "active"},
            {"status[gt:string]": "a"},
            {"status": "active"},
            {"a..b[eq]": "x"},
            {'a"b[eq]': "x"},
            {"a[b[eq]": "x"},
            {"priority[gt]": "many"},
            {"priority[eq:number]": "NaN"},
            {"priority[in:number]": "1|two"},
            {"enabled[eq:boolean]": "yes"},
            {"x" * 101 + "[eq]": "x"},
        ]
        for meta in bad:
            with self.subTest(meta), self.refused(BadRequestError, 400, 5400):
                self.listed(meta=meta)

    def test_filters_by_fields_of_any_name(self) -> None:
        for name in ["user-id", "user id", "größe", "it's", "a/b"]:
            with self.subTest(name):
                image = create(metadata=json.dumps({name: {"in-side": name}}))
                meta: Any = {name: {"in-side[eq]": name}}
                self.assertEqual(ids(v2.list(**me, meta=meta).images), [image.id])
                v1.delete(image.id, **me)

    def test_refuses_bad_page_sizes_and_orders(self) -> None:
        for params in [{"per_page": 0}, {"per_page": 1001}, {"sort_order": "random"}]:
            with self.subTest(params), self.refused(BadRequestError, 400, 5400, next(iter(params))):
                self.listed(**params)
        self.assertEqual(len(self.listed(per_page=1).images), 1)
        self.assertEqual(len(self.listed(per_page=1000).images), 5)


class DirectUploads(Suite):
    @staticmethod
    def direct(**fields: Any) -> Any:
        return v2.direct_uploads.create(**me, **fields)

    def test_without_a_word_about_the_image(self) -> None:
        made = self.direct()
        self.assertEqual(set(made.to_dict()), {"id", "uploadURL"})
        self.assertRegex(made.id, PUBLIC_ID)
        self.assertRegex(made.upload_url, rf"/upload/[\w-]{{22}}/{made.id}$")

        draft = v1.get(made.id, **me)
        self.assertEqual((draft.id, draft.filename, draft.meta), (made.id, None, None))
        self.assertIs(draft.draft, True)
        self.assertIsNotNone(draft.uploaded)
        self.assertEqual(deliver(variant_url(draft)).status_code, 404)

        answer = upload(made.upload_url, png(7, 5), name="süß.png")
        self.assertEqual(answer.status, 200)
        self.assertEqual([answer.body[name] for name in ("success", "errors", "messages")], [True, [], []])
        self.assertEqual(answer.headers["access-control-allow-origin"], "*")
        image = v1.get(made.id, **me)
        self.assertEqual(answer.body["result"], {**image.to_dict(mode="json"), "uploaded": _millis(image.uploaded)})
        self.assertEqual(image.filename, "süß.png")
        self.assertNotIn("draft", answer.body["result"])
        self.assertEqual(blob_of(made.id), png(7, 5))
        self.assertEqual(deliver(variant_url(image)).status_code, 200)

    def test_with_everything_said_about_it(self) -> None:
        name = f"{unique()}/täg 100%.png"
        metadata = {"a": "x", "b": {"c": "y"}, "d": ["p", "q"]}
        made = self.direct(id=name, creator="ann", metadata=metadata, expiry=soon(10), require_signed_urls=False)
        self.assertEqual(made.id, name)
        upload(made.upload_url)
        image = v1.get(name, **me)
        self.assertEqual((image.id, image.creator, image.filename), (name, "ann", "mine.png"))
        self.assertEqual(image.meta, metadata)

    def test_a_private_one(self) -> None:
        made = self.direct(require_signed_urls=True, metadata=json.dumps({"n": 1}))
        self.assertRegex(made.id, PRIVATE_ID)
        result = upload(made.upload_url).body["result"]
        self.assertIs(result["requireSignedURLs"], True)
        self.assertEqual(result["meta"], {"n": 1})
        self.assertEqual(deliver(result["variants"][0]).status_code, 403)

    def test_an_upload_url_works_once(self) -> None:
        made = self.direct()
        self.assertEqual(upload(made.upload_url).status, 200)
        again = upload(made.upload_url, png(9, 9))
        self.assertEqual((again.status, again.code, again.body["result"]), (409, 5409, None))
        self.assertIs(again.body["success"], False)
        self.assertEqual(blob_of(made.id), png())

    def test_of_two_uploads_at_once_one_wins(self) -> None:
        made = self.direct()
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(upload, [made.upload_url] * 2))
        self.assertEqual(sorted(answer.status for answer in answers), [200, 409])

    def test_a_refused_upload_leaves_the_url_open(self) -> None:
        made = self.direct()
        trials: list[tuple[bytes, dict[str, str], int, int]] = [
            (b"no picture", {}, 415, 5455),
            (png()[:45], {}, 415, 9422),
            (png(size=TEN_MB + 1), {}, 413, 5413),
            (png(), {"part": "picture"}, 400, 5400),
        ]
        for data, how, status, code in trials:
            with self.subTest(code):
                answer = upload(made.upload_url, data, **how)
                self.assertEqual((answer.status, answer.code, answer.body["success"]), (status, code, False))
                self.assertIs(v1.get(made.id, **me).draft, True)
        raw = web.post(made.upload_url, content=png())
        self.assertEqual((raw.status_code, raw.json()["errors"][0]["code"]), (415, 5415))
        self.assertEqual(upload(made.upload_url).status, 200)

    def test_browsers_of_any_site_may_upload(self) -> None:
        headers = {"origin": "https://shop.example", "access-control-request-method": "POST"}
        preflight = web.options(self.direct().upload_url, headers=headers)
        self.assertTrue(preflight.is_success)
        self.assertEqual(preflight.headers["access-control-allow-origin"], "*")
        self.assertIn("POST", preflight.headers["access-control-allow-methods"])

    def test_a_deleted_draft_and_a_url_nobody_made_take_nothing(self) -> None:
        made = self.direct()
        self.assertEqual(v1.delete(made.id, **me), {})
        with self.refused(NotFoundError, 404, 5404):
            v1.get(made.id, **me)
        self.assertEqual(upload(made.upload_url).status, 404)
        url = self.direct().upload_url
        other = re.sub(r"upload/[\w-]{22}", "upload/" + "A" * 22, url)
        self.assertEqual((upload(other).status, upload(url).status), (403, 200))

    def test_expiry_two_minutes_to_six_hours_ahead(self) -> None:
        for minutes in [2, 30, 6 * 60]:
            self.direct(expiry=soon(minutes))
        bad = [soon(minutes) for minutes in [-60, 0, 1, 6 * 60 + 1, 24 * 60]]
        for expiry in [*bad, "tomorrow", "2026-01-01", str(int(time.time()) + 600)]:
            with self.subTest(expiry), self.refused(BadRequestError, 400, 5400, "expiry"):
                self.direct(expiry=expiry)

    def test_refuses_ids_that_are_taken_by_images_and_by_drafts(self) -> None:
        taken = create(id=unique()).id
        draft = self.direct(id=unique()).id
        for name in [taken, draft]:
            with self.refused(ConflictError, 409, 5409, "already exists"):
                self.direct(id=name)
        with self.refused(ConflictError, 409, 5409):
            create(id=draft)

    def test_refuses_bad_custom_ids_private_ones_and_too_much_metadata(self) -> None:
        bad: list[tuple[dict[str, Any], int, str]] = [
            ({"id": "058aae72-ae47-4a27-8f79-dd0ca9e87600"}, 5411, "UUID"),
            ({"id": "/a"}, 5411, ""),
            ({"id": "x" * 1025}, 5411, ""),
            ({"id": unique(), "require_signed_urls": True}, 5400, "custom ID"),
            ({"metadata": metadata_of(1025)}, 5400, "1024"),
            ({"require_signed_urls": "maybe"}, 5400, ""),
        ]
        for fields, code, text in bad:
            with self.subTest(code=code, text=text), self.refused(BadRequestError, 400, code, text):
                self.direct(**fields)


class Credentials(Suite):
    @staticmethod
    def every_call(of: Cloudflare, account: str) -> list[Callable[[], Any]]:
        """One call of every method, with a client and an account that may be wrong."""
        v1, v2, who = of.images.v1, of.images.v2, {"account_id": account}
        options: Any = {"fit": "cover", "width": 1, "height": 1, "metadata": "none"}
        return [
            lambda: v1.list(**who),
            lambda: v1.create(**who, file=png()),
            lambda: v1.get("x", **who),
            lambda: v1.edit("x", **who, metadata={}),
            lambda: v1.delete("x", **who),
            lambda: v1.blobs.get("x", **who),
            lambda: v1.keys.list(**who),
            lambda: v1.keys.update("x", **who),
            lambda: v1.keys.delete("x", **who),
            lambda: v1.stats.get(**who),
            lambda: v1.variants.list(**who),
            lambda: v1.variants.create(**who, id="x", options=options),
            lambda: v1.variants.get("x", **who),
            lambda: v1.variants.edit("x", **who, options=options),
            lambda: v1.variants.delete("x", **who),
            lambda: v2.list(**who),
            lambda: v2.direct_uploads.create(**who),
        ]

    def test_every_call_refuses_a_wrong_token(self) -> None:
        with connect(api_token="wrong") as stranger:
            calls = self.every_call(stranger, ACCOUNT)
            self.assertEqual(len(calls), len(METHODS))
            for call in calls:
                with self.refused(AuthenticationError, 401, 10000, "Authentication error"):
                    call()

    def test_a_token_that_reads_is_refused_every_change(self) -> None:
        name = unique("read")
        create(id=name)
        with connect(api_token=os.environ["READ_TOKEN"]) as reader:
            of = reader.images
            self.assertEqual(of.v1.get(name, **me).id, name)
            for read in (of.v1.list, of.v2.list, of.v1.keys.list, of.v1.stats.get, of.v1.variants.list):
                read(**me)
            changes: list[Callable[[], Any]] = [
                lambda: of.v1.create(**me, file=png()),
                lambda: of.v1.edit(name, **me, metadata={}),
                lambda: of.v1.delete(name, **me),
                lambda: of.v1.keys.update("x", **me),
                lambda: of.v1.keys.delete("default", **me),
                lambda: of.v1.variants.delete("public", **me),
                lambda: of.v2.direct_uploads.create(**me),
            ]
            for change in changes:
                with self.refused(PermissionDeniedError, 403, 10000, "Authentication error"):
                    change()
        v1.delete(name, **me)

    def test_errors_point_to_what_they_are_about(self) -> None:
        with self.assertRaises(BadRequestError) as caught:
            create(id="a.txt")
        body: Any = caught.exception.body
        error = body["errors"][0]
        self.assertEqual(error["source"], {"pointer": "/id"})
        self.assertRegex(error["documentation_url"], r"^https://developers\.cloudflare\.com/")

    def test_every_call_refuses_another_account(self) -> None:
        with connect() as other:
            for call in self.every_call(other, "f" * 32):
                with self.refused(PermissionDeniedError, 403, 5403, "not valid or is not authorized"):
                    call()

    def test_email_and_key_are_as_good_as_a_token(self) -> None:
        # With both, this SDK sends the e-mail address only, so the key is set as a header.
        def owner(key: str) -> Cloudflare:
            return connect(api_email="ann@example.com", default_headers={"X-Auth-Key": key})

        with owner(os.environ["CLOUDFLARE_API_TOKEN"]) as known:
            self.assertIsNotNone(known.images.v1.stats.get(**me).count)
        with owner("wrong") as stranger, self.refused(AuthenticationError, 401, 10000):
            stranger.images.v1.stats.get(**me)


class Retries(Suite):
    @contextmanager
    def persistent(self, lose: Callable[[int], bool] = lambda request: False) -> Iterator[tuple[Any, list[int]]]:
        """A client with the default retries. ``lose`` selects the responses that do not reach it."""
        recorded = Recorded(lose)
        with connect(max_retries=2, http_client=httpx.Client(transport=recorded)) as patient:
            yield patient.images.v1, recorded.log

    def test_a_conflict_is_tried_three_times_and_leaves_nothing_behind(self) -> None:
        name = create(id=unique()).id
        before = v1.stats.get(**me)
        with self.persistent() as (patient, log):
            with self.refused(ConflictError, 409, 5409):
                patient.create(**me, id=name, file=png())
            self.assertEqual(log, [409, 409, 409])
        self.assertEqual(v1.stats.get(**me), before)

    def test_other_refusals_are_tried_once(self) -> None:
        with self.persistent() as (patient, log):
            with self.refused(NotFoundError, 404, 5404):
                patient.get("nobody", **me)
            with self.refused(BadRequestError, 400, 5411):
                patient.create(**me, id="/", file=png())
            self.assertEqual(log, [404, 400])

    def test_when_the_answer_of_a_create_is_lost_a_custom_id_keeps_the_retry_from_a_second_image(self) -> None:
        name = unique()
        before = v1.stats.get(**me).count.current
        with self.persistent(lambda request: request == 1) as (patient, log):
            with self.refused(ConflictError, 409, 5409):
                patient.create(**me, id=name, file=png())
            self.assertEqual(log, [200, 409, 409])
        self.assertEqual(v1.stats.get(**me).count.current, before + 1)
        self.assertEqual(blob_of(name), png())

    def test_when_the_answer_of_a_read_or_an_edit_is_lost_the_retry_gets_it(self) -> None:
        image = create()
        with self.persistent(lambda request: request % 2 == 1) as (patient, log):
            self.assertEqual(patient.get(image.id, **me), image)
            self.assertEqual(patient.edit(image.id, **me, metadata={"a": 1}).meta, {"a": 1})
            self.assertEqual(log, [200, 200, 200, 200])


class Asynchronous(Suite):
    def test_the_asynchronous_client_speaks_the_same(self) -> None:
        async def life_of_an_image() -> None:
            async with AsyncCloudflare(max_retries=0, timeout=20) as asynchronous:
                v1, v2 = asynchronous.images.v1, asynchronous.images.v2
                creator = unique()
                image = await v1.create(**me, file=("a.png", png()), metadata={"a": {"b": "c"}}, creator=creator)
                self.assertEqual(image.meta, {"a": {"b": "c"}})
                self.assertEqual(await v1.get(image.id, **me), image)
                self.assertEqual(await (await v1.blobs.get(image.id, **me)).read(), png())
                edited = await v1.edit(image.id, **me, require_signed_urls=True)
                page = await v2.list(**me, creator=creator, meta={"a.b[eq]": "c"})
                self.assertEqual(ids(page.images), [edited.id])
                draft = await v2.direct_uploads.create(**me, expiry=soon(5))
                self.assertIs((await v1.get(draft.id, **me)).draft, True)
                self.assertEqual(await v1.delete(edited.id, **me), {})
                with self.refused(NotFoundError, 404, 5404):
                    await v1.get(edited.id, **me)

        asyncio.run(life_of_an_image())


class Whole(Suite):
    """The last suite: suites run in the order of this file."""

    def test_no_method_of_the_sdk_was_left_out(self) -> None:
        self.assertEqual(called, {path for _, _, path in METHODS})


def load_tests(loader: unittest.TestLoader, *_: object) -> unittest.TestSuite:
    suites = [value for value in globals().values() if isinstance(value, type) and issubclass(value, Suite)]
    return unittest.TestSuite(loader.loadTestsFromTestCase(suite) for suite in suites)


if __name__ == "__main__":
    unittest.main()

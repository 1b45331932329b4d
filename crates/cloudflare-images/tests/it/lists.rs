//! Lists of images: pages, order, filters.

use cloudflare_images::client::{
    ListQuery, MetaFilter, MetaTest, NewDirectUpload, NewImage, PageQuery, SortOrder,
};
use cloudflare_images::wire::Image;
use serde_json::json;

use crate::harness::{Account, create, object, refusal};
use crate::pictures::png;

/// The pages contain every image once, in the requested order, and no draft.
#[tokio::test]
async fn the_list_pages_in_both_directions() {
    let account = Account::open().await;
    let mut images = Vec::new();
    for seed in 0..7 {
        images.push(account.image(seed).await);
    }
    account.client.direct_upload(&NewDirectUpload::default()).await.unwrap();
    images.sort_by_key(|image| (image.uploaded, image.id.clone()));
    for client in [account.client.clone(), account.client.batch()] {
        for (sort_order, descending) in
            [(None, true), (Some(SortOrder::Desc), true), (Some(SortOrder::Asc), false)]
        {
            let mut expected = images.clone();
            if descending {
                expected.reverse();
            }
            let mut query = ListQuery { per_page: Some(3), sort_order, ..ListQuery::default() };
            let (mut found, mut sizes) = (Vec::new(), Vec::new());
            loop {
                let page = client.list(&query).await.unwrap();
                sizes.push(page.images.len());
                found.extend(page.images);
                query.continuation_token = page.continuation_token;
                if query.continuation_token.is_none() {
                    break;
                }
            }
            assert_eq!((sizes, found), (vec![3, 3, 1], expected.clone()));
            let all = client.list(&ListQuery { sort_order, ..ListQuery::default() }).await.unwrap();
            assert_eq!((all.images, all.continuation_token), (expected, None));
        }
    }
    // A full last page has no token.
    let exact = ListQuery { per_page: Some(7), ..ListQuery::default() };
    assert_eq!(account.client.list(&exact).await.unwrap().continuation_token, None);
}

/// A token is valid only with the order and the filters of its list.
#[tokio::test]
async fn a_token_of_another_list_is_refused() {
    let account = Account::open().await;
    for seed in 0..3 {
        account.image(seed).await;
    }
    let one = ListQuery { per_page: Some(1), ..ListQuery::default() };
    let continuation_token = account.client.list(&one).await.unwrap().continuation_token;
    assert!(continuation_token.is_some());
    for query in [
        ListQuery { continuation_token: Some("junk".to_owned()), ..ListQuery::default() },
        ListQuery {
            continuation_token: continuation_token.clone(),
            sort_order: Some(SortOrder::Asc),
            ..ListQuery::default()
        },
        ListQuery { continuation_token, creator: Some(String::new()), ..ListQuery::default() },
        ListQuery { per_page: Some(0), ..ListQuery::default() },
    ] {
        assert_eq!(refusal(account.client.list(&query).await), ("invalid", Some(5400)), "{query:?}");
    }
}

#[tokio::test]
async fn version_1_of_the_list_has_numbered_pages() {
    let account = Account::open().await;
    let mut images = Vec::new();
    for seed in 0..23 {
        let new = NewImage { creator: (seed < 2).then_some("me"), ..NewImage::default() };
        images.push(create(&account.client, new, png(seed)).await.unwrap());
    }
    images.sort_by_key(|image| std::cmp::Reverse((image.uploaded, image.id.clone())));
    for client in [account.client.clone(), account.client.batch()] {
        let page = async |page| {
            let query = PageQuery { page: Some(page), per_page: Some(10), creator: None };
            client.list_v1(&query).await.unwrap().images
        };
        assert_eq!(page(1).await, images[..10]);
        assert_eq!(page(2).await, images[10..20]);
        assert_eq!(page(3).await, images[20..]);
        assert_eq!(page(4).await, []);
        assert_eq!(client.list_v1(&PageQuery::default()).await.unwrap().images, images);
        let of = async |creator: &str| {
            let query = PageQuery { creator: Some(creator.to_owned()), ..PageQuery::default() };
            client.list_v1(&query).await.unwrap().images
        };
        let (mine, others): (Vec<Image>, Vec<Image>) =
            images.iter().cloned().partition(|image| image.creator.is_some());
        assert_eq!((mine.len(), of("me").await, of("").await, of("you").await), (2, mine, others, vec![]));
    }
    let query = PageQuery { page: Some(0), ..PageQuery::default() };
    assert_eq!(refusal(account.client.list_v1(&query).await), ("invalid", Some(5400)));
}

#[tokio::test]
async fn the_list_filters_by_creator() {
    let account = Account::open().await;
    let mine = NewImage { creator: Some("me ü&=+"), ..NewImage::default() };
    let mine = create(&account.client, mine, png(1)).await.unwrap();
    let yours = NewImage { creator: Some("you"), ..NewImage::default() };
    let yours = create(&account.client, yours, png(2)).await.unwrap();
    let without = account.image(3).await;
    for (creator, expected) in
        [("me ü&=+", vec![mine]), ("you", vec![yours]), ("", vec![without]), ("m", vec![])]
    {
        let query = ListQuery { creator: Some(creator.to_owned()), ..ListQuery::default() };
        assert_eq!(account.client.list(&query).await.unwrap().images, expected, "{creator}");
        assert_eq!(account.client.batch().list(&query).await.unwrap().images, expected, "{creator}");
    }
}

/// Each operator on metadata, with values that match and values that do not.
#[tokio::test]
async fn the_list_filters_by_metadata() {
    let account = Account::open().await;
    let mut images = Vec::new();
    for (seed, meta) in [
        json!({ "app": { "id": "x|1" }, "n": 5, "b": true, "s": "5" }),
        json!({ "app": { "id": "ü &=" }, "n": 2.5, "b": false, "s": "true" }),
        json!({ "app": "x", "n": "5", "b": "true" }),
        json!({ "n": -3, "a": { "b": { "c": { "d": { "e": "deep" } } } } }),
    ]
    .into_iter()
    .enumerate()
    {
        let meta = object(meta);
        let new = NewImage { metadata: Some(&meta), ..NewImage::default() };
        images.push(create(&account.client, new, png(seed as u32)).await.unwrap());
    }
    account.image(9).await;
    let text = |text: &str| text.to_owned();
    let fraction = serde_json::Number::from_f64(2.5).unwrap();
    let on = |field: &str, test| vec![MetaFilter { field: field.to_owned(), test }];
    let cases = [
        (on("app.id", MetaTest::Eq(text("x|1"))), vec![0]),
        (on("app.id", MetaTest::Eq(text("ü &="))), vec![1]),
        (on("app.id", MetaTest::Eq(text("X|1"))), vec![]),
        (on("app", MetaTest::Eq(text("x"))), vec![2]),
        (on("n", MetaTest::Eq(text("5"))), vec![0, 2]),
        (on("b", MetaTest::Eq(text("true"))), vec![0, 2]),
        (on("n", MetaTest::EqString(text("5"))), vec![2]),
        (on("s", MetaTest::EqString(text("5"))), vec![0]),
        (on("n", MetaTest::EqNumber(5.into())), vec![0]),
        (on("n", MetaTest::EqNumber(fraction.clone())), vec![1]),
        (on("s", MetaTest::EqNumber(5.into())), vec![]),
        (on("b", MetaTest::EqBoolean(true)), vec![0]),
        (on("b", MetaTest::EqBoolean(false)), vec![1]),
        (on("s", MetaTest::EqBoolean(true)), vec![]),
        (on("n", MetaTest::In(vec![text("2.5"), text("5"), text("7")])), vec![0, 1, 2]),
        (on("app.id", MetaTest::In(vec![text("zz"), text("ü &=")])), vec![1]),
        (on("n", MetaTest::InString(vec![text("5"), text("2.5")])), vec![2]),
        (on("n", MetaTest::InNumber(vec![fraction, (-3).into(), 9.into()])), vec![1, 3]),
        (on("n", MetaTest::Gt((-3).into())), vec![0, 1]),
        (on("n", MetaTest::Gte((-3).into())), vec![0, 1, 3]),
        (on("n", MetaTest::Lt(5.into())), vec![1, 3]),
        (on("n", MetaTest::Lte(5.into())), vec![0, 1, 3]),
        ([on("n", MetaTest::Gt(2.into())), on("n", MetaTest::Lt(5.into()))].concat(), vec![1]),
        ([on("n", MetaTest::Gt(2.into())), on("b", MetaTest::EqBoolean(true))].concat(), vec![0]),
        (on("a.b.c.d.e", MetaTest::Eq(text("deep"))), vec![3]),
        (on("a.b.c", MetaTest::Eq(text("deep"))), vec![]),
        (on("missing", MetaTest::Lte(5.into())), vec![]),
    ];
    for (meta, expected) in cases {
        let query = ListQuery { meta, sort_order: Some(SortOrder::Asc), ..ListQuery::default() };
        let found = account.client.list(&query).await.unwrap().images;
        let mut expected: Vec<_> = expected.into_iter().map(|i: usize| images[i].id.as_str()).collect();
        let mut found: Vec<_> = found.iter().map(|image| image.id.as_str()).collect();
        // Images of the same millisecond are in the order of their ids.
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{query:?}");
        let batch = account.client.batch().list(&query).await.unwrap().images;
        assert_eq!(batch.len(), expected.len(), "{query:?}");
    }
}

/// Filters that exceed Cloudflare's limits are refused.
#[tokio::test]
async fn bad_filters_are_refused() {
    let account = Account::open().await;
    let on = |field: &str, test| MetaFilter { field: field.to_owned(), test };
    let eq = || MetaTest::Eq("x".to_owned());
    for meta in [
        vec![on("", eq())],
        vec![on("a..b", eq())],
        vec![on("a\"b", eq())],
        vec![on("a[b", eq())],
        vec![on("a\u{7}b", eq())],
        vec![on(&"x".repeat(101), eq())],
        vec![on("a.b.c.d.e.f", eq())],
        vec![on("a", MetaTest::InNumber((0..11).map(Into::into).collect()))],
        vec![on("a", eq()); 6],
    ] {
        let query = ListQuery { meta, ..ListQuery::default() };
        assert_eq!(refusal(account.client.list(&query).await), ("invalid", Some(5400)), "{query:?}");
    }
    let ten = MetaTest::InNumber((0..10).map(Into::into).collect());
    let query = ListQuery { meta: vec![on("a.b.c.d.e", ten); 5], ..ListQuery::default() };
    assert_eq!(account.client.list(&query).await.unwrap().images, []);
}

//! A queue of images at the rates that Cloudflare documents, which the emulator enforces, while uploads go on.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load::Connection;
use crate::requests::Pictures;
use crate::subject::{ACCOUNT, Kind, Subject, TOKEN, Target};

/// Calls that Cloudflare allows, to the management API in five minutes and to the batch host in a second.
pub(crate) const RATES: [(&str, &str); 2] = [("--rate", "1200"), ("--batch-rate", "200")];
/// Time between two interactive uploads.
const PAUSE: Duration = Duration::from_millis(250);
/// The queue has to be gone by then.
const LIMIT: Duration = Duration::from_secs(300);

/// Queues so many images while the account refuses every one of them. Then it works, and the program is started again: its worker
/// finds all of them due. Prints how long that takes, and how long uploads wait meanwhile.
pub(crate) async fn measure(clients: usize, images: u64, pictures: Arc<Pictures>, scratch: &Path) {
    let mut subject = Subject::start(Kind::Rates, scratch).await;
    let account = subject.account.as_ref().unwrap().address;
    let fault =
        json!({ "path": "/images/v1", "method": "POST", "fault": { "kind": "status", "status": 400 } });
    call(account, "POST", "/faults", &fault.to_string()).await;
    let numbers = Arc::new(AtomicU64::new(0));
    let queued: Vec<_> = (0..clients)
        .map(|_| {
            let (pictures, numbers, target) = (Arc::clone(&pictures), Arc::clone(&numbers), subject.target());
            tokio::spawn(async move {
                let mut connection = Connection::open(target.address).await;
                loop {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    if number >= images {
                        return;
                    }
                    assert_eq!(upload(&mut connection, &target, &pictures, number).await, "QUEUED");
                }
            })
        })
        .collect();
    for client in queued {
        client.await.unwrap();
    }
    assert_eq!(account_images(account).await, (0, 0), "the account refused every image");

    call(account, "DELETE", "/faults", "").await;
    // Longer than the delay after one attempt.
    tokio::time::sleep(Duration::from_secs(3)).await;
    subject.restart_with_worker();
    let (began, target) = (Instant::now(), subject.target());
    let (mut connection, mut longest, mut uploads) =
        (Connection::open(target.address).await, Duration::ZERO, 0);
    let elapsed = loop {
        let sent = Instant::now();
        let status = upload(&mut connection, &target, &pictures, images + uploads).await;
        assert_eq!(status, "READY", "an upload that somebody waits for");
        longest = longest.max(sent.elapsed());
        uploads += 1;
        if ready(&subject).await == images + uploads {
            break began.elapsed();
        }
        assert!(began.elapsed() < LIMIT, "the queue is not worked off");
        tokio::time::sleep(PAUSE).await;
    };
    let (all, distinct) = account_images(account).await;
    assert_eq!((all, distinct), (images + uploads, images + uploads), "images of the account, and of files");
    println!(
        "{images} queued images were provisioned in {:.1} s at the documented rates, which allow them in {:.1} s; {uploads} uploads \
         meanwhile took at most {:.0} ms; the account has {all} images of {distinct} files",
        elapsed.as_secs_f64(),
        images as f64 / 200.0,
        longest.as_secs_f64() * 1000.0,
    );
    subject.end().await;
}

/// Uploads a picture, and returns the status of its image.
async fn upload(connection: &mut Connection, target: &Target, pictures: &Pictures, number: u64) -> String {
    connection.send(&target.request(pictures, number)).await;
    let answer: Value = serde_json::from_slice(&connection.body).unwrap();
    answer["data"]["uploadFile"]["file"]["imageStatus"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

/// The number of provisioned images.
async fn ready(subject: &Subject) -> u64 {
    let answer = subject.query("{ images { totalCount } }").await;
    answer["data"]["images"]["totalCount"].as_u64().unwrap()
}

/// The images that the account lists, and how many different images of the program they are.
async fn account_images(account: SocketAddr) -> (u64, u64) {
    let (mut all, mut ids, mut token) = (0, HashSet::new(), String::new());
    loop {
        let path = format!("/client/v4/accounts/{ACCOUNT}/images/v2?per_page=1000{token}");
        let page: Value = serde_json::from_slice(&call(account, "GET", &path, "").await).unwrap();
        for image in page["result"]["images"].as_array().unwrap() {
            all += 1;
            ids.insert(image["meta"]["imagegraph"].as_str().unwrap().to_owned());
        }
        match page["result"]["continuation_token"].as_str() {
            Some(next) => token = format!("&continuation_token={next}"),
            None => return (all, ids.len() as u64),
        }
    }
}

/// A call to the emulator, which must succeed.
async fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Vec<u8> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = Connection::open(address).await;
    connection.send(request.as_bytes()).await;
    connection.body
}

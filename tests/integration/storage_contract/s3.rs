//! What a bucket alone promises: whom it lets in, and how it says that it cannot be reached.

use bytes::Bytes;
use regrow::codec::sha256;
use regrow::secret::Secret;
use regrow::storage::{S3Credentials, S3Options, Storage, StorageError};

use super::lossy_proxy::{Answer, LossyProxy};
use super::{connect, noise, patient, s3_server, unique_prefix};

const PART: usize = 8 * 1024 * 1024;

#[tokio::test]
async fn a_wrong_secret_is_denied_by_name() {
    let credentials = s3_server()
        .credentials
        .map(|right| S3Credentials { secret_access_key: Secret::new("not the secret".to_owned()), ..right });
    let store = connect(S3Options { credentials, ..s3_server() }).await;
    for (error, action) in [
        (store.create("a", Bytes::from_static(b"x")).await.unwrap_err(), "s3:GetObject"),
        (store.read("a", None).await.unwrap_err(), "s3:GetObject"),
        (store.list("").await.unwrap_err(), "s3:ListBucket"),
        (store.delete("a").await.unwrap_err(), "s3:DeleteObject"),
    ] {
        let StorageError::Denied { operation, .. } = &error else { panic!("{error}") };
        assert!(operation.contains(action), "{error}");
        assert!(!error.to_string().contains("not the secret"), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_unavailable() {
    // Port 1 is reserved and nobody listens there.
    let store = connect(S3Options { endpoint: Some("http://127.0.0.1:1".to_owned()), ..s3_server() }).await;
    let mut upload = store.upload("a").await.unwrap();
    let uploaded = upload.write(noise(1, 2 * PART)).await;
    for error in [
        store.create("a", Bytes::from_static(b"x")).await.unwrap_err(),
        store.read("a", None).await.unwrap_err(),
        store.list("").await.unwrap_err(),
        uploaded.unwrap_err(),
        store.probe().await.unwrap_err(),
        patient(store.clone()).size("a").await.unwrap_err(),
    ] {
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().ends_with(": Connection refused"), "{error}");
    }
}

#[tokio::test]
async fn a_failed_upload_stays_failed() {
    let store = connect(S3Options { endpoint: Some("http://127.0.0.1:1".to_owned()), ..s3_server() }).await;
    let mut upload = store.upload("a").await.unwrap();
    upload.write(noise(1, 2 * PART)).await.unwrap_err();
    let error = upload.write(noise(1, 10)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot write a: the upload has failed already");
    assert!(upload.finish(&sha256(b"")).await.is_err());
}

#[tokio::test]
async fn an_upload_that_is_not_what_its_hash_says_is_refused() {
    let store = connect(S3Options { prefix: unique_prefix(), ..s3_server() }).await;
    let mut upload = store.upload("a").await.unwrap();
    upload.write(noise(1, 10)).await.unwrap();
    let error = upload.finish(&sha256(b"something else")).await.unwrap_err();
    assert!(!matches!(error, StorageError::AlreadyExists { .. }), "{error}");
}

#[tokio::test]
async fn two_prefixes_of_a_bucket_do_not_meet() {
    let prefix = unique_prefix();
    let one = connect(S3Options { prefix: format!("{prefix}/one/"), ..s3_server() }).await;
    let other = connect(S3Options { prefix: format!("/{prefix}/one-more"), ..s3_server() }).await;
    one.create("a", Bytes::from_static(b"1")).await.unwrap();
    other.create("a", Bytes::from_static(b"2")).await.unwrap();
    assert_eq!(one.list("").await.unwrap().len(), 1);
    assert_eq!(other.read("a", None).await.unwrap(), "2");
    assert_eq!(one.location(), format!("s3://{}/{prefix}/one", s3_server().bucket));
}

/// The answers to a create, to the begin, to a part and to the end of an upload are lost on the way; what
/// they did is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_are_made_good() {
    for lost in [Answer::Create, Answer::UploadBegin, Answer::Part, Answer::UploadEnd] {
        let (proxy, store) = behind_proxy(lost).await;
        let store = patient(store);
        let content = noise(2, 3 * PART + 1);
        let stored = store.create("created", content.slice(..1000)).await.unwrap();
        assert_eq!(stored.size, 1000);
        let mut upload = store.upload("uploaded").await.unwrap();
        upload.write(content.clone()).await.unwrap();
        let stored = upload.finish(&sha256(&content)).await.unwrap();
        assert_eq!(stored.size, content.len() as u64);
        assert_eq!(proxy.lost(), 1, "{lost:?}");
        assert!(store.read("uploaded", None).await.unwrap() == content, "{lost:?}");
        assert_eq!(store.list("").await.unwrap().len(), 2, "{lost:?}");
    }
}

/// Without the decorator that looks, a lost answer is a failure, never a false success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_unavailable() {
    let (_proxy, store) = behind_proxy(Answer::Create).await;
    let error = store.create("a", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let (_proxy, store) = behind_proxy(Answer::UploadEnd).await;
    let mut upload = store.upload("b").await.unwrap();
    let content = noise(3, PART + 1);
    upload.write(content.clone()).await.unwrap();
    let error = upload.finish(&sha256(&content)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let (_proxy, store) = behind_proxy(Answer::Create).await;
    let mut upload = store.upload("c").await.unwrap();
    upload.write(content.slice(..10)).await.unwrap();
    let error = upload.finish(&sha256(&content[..10])).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

async fn behind_proxy(lost: Answer) -> (LossyProxy, regrow::storage::S3) {
    let server = s3_server();
    let proxy = LossyProxy::start(server.endpoint.as_deref().unwrap(), lost);
    let options = S3Options { endpoint: Some(proxy.endpoint()), prefix: unique_prefix(), ..server };
    let store = connect(options).await;
    (proxy, store)
}

//! An S3 store, and a client to look into it behind the program's back.

use std::path::PathBuf;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use regrow::secret::Secret;
use regrow::storage::{S3Credentials, S3Options};
use serde::Deserialize;

use super::{plant, unique};

/// One bucket of an S3 store and the account that may use it.
#[derive(Debug, Deserialize)]
pub struct S3 {
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    pub bucket: String,
    /// The bucket's objects as files, to damage them; `None` when the store is not ours.
    pub directory: Option<PathBuf>,
}

impl S3 {
    pub const REGION: &'static str = "us-east-1";

    /// Returns the store to test against instead of ours: `$REGROW_TEST_S3_ENDPOINT` and
    /// `$REGROW_TEST_S3_BUCKET`, with the AWS variables for the account.
    pub(super) fn from_environment() -> Option<Self> {
        let endpoint = std::env::var("REGROW_TEST_S3_ENDPOINT").ok()?;
        let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is needed with {endpoint}"));
        let secret_key = variable("AWS_SECRET_ACCESS_KEY");
        plant("the store's secret key", &secret_key);
        Some(Self {
            access_key: variable("AWS_ACCESS_KEY_ID"),
            secret_key,
            bucket: variable("REGROW_TEST_S3_BUCKET"),
            directory: None,
            endpoint,
        })
    }

    /// Returns the URL of a place in the bucket that no other test uses.
    pub fn unique_repository_url(&self) -> String {
        format!("s3://{}/{}", self.bucket, unique("repository"))
    }

    /// Returns what the library needs to use the bucket.
    pub fn options(&self) -> S3Options {
        S3Options {
            bucket: self.bucket.clone(),
            endpoint: Some(self.endpoint.clone()),
            credentials: Some(S3Credentials {
                access_key_id: self.access_key.clone(),
                secret_access_key: Secret::new(self.secret_key.clone()),
                session_token: None,
            }),
            ..S3Options::default()
        }
    }

    /// Returns a client that asks the store itself, with no code of ours in between.
    pub fn client(&self) -> Client {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .region(Region::new(Self::REGION))
            .credentials_provider(Credentials::new(&self.access_key, &self.secret_key, None, None, "tests"))
            .force_path_style(true)
            .http_client(http)
            .build();
        Client::from_conf(config)
    }

    /// Returns the variables by which the program finds the account.
    pub(super) fn environment(&self) -> [(&'static str, &str); 2] {
        [("AWS_ACCESS_KEY_ID", &self.access_key), ("AWS_SECRET_ACCESS_KEY", &self.secret_key)]
    }
}

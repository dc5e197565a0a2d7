//! Which bucket, at which endpoint, with whose credentials; and the client made of that.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::HttpClientError;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};

use super::bucket::Bucket;
use super::lock::ObjectLock;
use crate::clock::Clock;
use crate::random::Random;
use crate::secret::Secret;
use crate::storage::backoff::Patience;
use crate::storage::{Backoff, StorageError, StorageResult};

/// A host that does not take a connection within this time is down or behind a firewall.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What stores with an endpoint of their own commonly sign with when they have no regions.
const REGION_OF_CUSTOM_ENDPOINTS: &str = "us-east-1";

/// Which bucket to use and how to reach it. What is `None` is found as the AWS SDK finds it.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// The bucket, which must exist.
    pub bucket: String,
    /// The part of the bucket to use: `prefix` puts an object `a` at `prefix/a`. Empty for all of it.
    pub prefix: String,
    /// The bucket's region. With an endpoint of its own and no region, `us-east-1`.
    pub region: Option<String>,
    /// The URL of a store other than AWS. Implies path-style addresses.
    pub endpoint: Option<String>,
    /// Puts the bucket into the path instead of the host name.
    pub force_path_style: bool,
    /// Certificates in PEM of authorities that are trusted besides those of the system.
    pub authorities: Option<Vec<u8>>,
    /// Credentials from Regrow's own configuration.
    pub credentials: Option<S3Credentials>,
    /// How objects are locked that are never replaced, in a bucket with Object Lock.
    pub lock: Option<ObjectLock>,
    /// The bounds for repeating the parts of an upload.
    pub backoff: Backoff,
}

/// A key pair, for a store whose credentials are in Regrow's configuration.
#[derive(Debug, Clone)]
pub struct S3Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The token that belongs to temporary credentials.
    pub session_token: Option<Secret>,
}

impl From<S3Credentials> for Credentials {
    fn from(own: S3Credentials) -> Self {
        let token = own.session_token.map(|token| token.reveal().to_owned());
        Self::new(own.access_key_id, own.secret_access_key.reveal(), token, None, "regrow configuration")
    }
}

pub(super) async fn open(options: S3Options, clock: Clock, random: Random) -> StorageResult<Bucket> {
    let patience = Patience::new(options.backoff, random);
    let (bucket, prefix, lock) = (options.bucket.clone(), options.prefix.clone(), options.lock);
    Ok(Bucket::new(client(options).await?, bucket, &prefix, (lock, clock), patience))
}

/// Trusts what the system trusts, and `authorities`. The system's stay, because the SDK asks Amazon for credentials over the same
/// connections.
fn tls(authorities: Option<Vec<u8>>) -> StorageResult<TlsContext> {
    let trusted = authorities.into_iter().fold(TrustStore::default(), TrustStore::with_pem_certificate);
    let unusable = |error: HttpClientError| StorageError::Other {
        operation: "prepare secure connections".to_owned(),
        reason: error.to_string(),
    };
    TlsContext::builder().with_trust_store(trusted).build().map_err(unusable)
}

async fn client(options: S3Options) -> StorageResult<Client> {
    // ring, because its build needs no more than a C compiler; SDK defaults would bring aws-lc and cmake.
    let http =
        HttpBuilder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls(options.authorities)?);
    let http = http.build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http);
    if let Some(endpoint) = &options.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = options.region {
        loader = loader.region(Region::new(region));
    } else if options.endpoint.is_some() {
        loader = loader.region(Region::from_static(REGION_OF_CUSTOM_ENDPOINTS));
    }
    if let Some(credentials) = options.credentials {
        loader = loader.credentials_provider(Credentials::from(credentials));
    }
    let found = loader.load().await;
    if found.region().is_none() {
        return Err(StorageError::Other {
            operation: format!("use the bucket {}", options.bucket),
            reason: "its region is not known; set it in the configuration or in AWS_REGION".to_owned(),
        });
    }
    // AWS_ENDPOINT_URL names a custom endpoint, too.
    let path_style = options.force_path_style || found.endpoint_url().is_some();
    let config = aws_sdk_s3::config::Builder::from(&found)
        .force_path_style(path_style)
        // One attempt: a second layer of retries below ours would multiply with it.
        .retry_config(RetryConfig::disabled())
        // Each request has its own time limit, which depends on its size; see `failure::Request::send`.
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        // We send SHA-256 ourselves, and readers check what they read against hashes of their own. The SDK
        // would add CRCs that some stores refuse, and check ranges against whole-object checksums (rclone).
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Ok(Client::from_conf(config))
}

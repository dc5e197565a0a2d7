//! An S3 server one answer of which is lost: the request arrives and takes effect, and then the connection breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{HttpProxy, Request, Verdict};

/// The request whose answer is lost, the first time that it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Create,
    UploadBegin,
    Part,
    UploadEnd,
}

impl Answer {
    fn is_to(self, request: &Request) -> bool {
        match self {
            Self::Create => request.method() == "PUT" && !request.asks("partNumber"),
            Self::Part => request.method() == "PUT" && request.asks("partNumber"),
            Self::UploadBegin => request.method() == "POST" && !request.asks("uploadId"),
            Self::UploadEnd => request.method() == "POST" && request.asks("uploadId"),
        }
    }
}

pub struct LossyProxy {
    proxy: HttpProxy,
    lost: Arc<AtomicUsize>,
}

impl LossyProxy {
    /// Starts a proxy before the server at `endpoint`, an `http://host:port`.
    pub fn start(endpoint: &str, answer: Answer) -> Self {
        let lost = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&lost);
        let proxy = HttpProxy::start(endpoint, move |request| {
            let is_lost =
                answer.is_to(request) && counter.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if is_lost { Verdict::Lose } else { Verdict::Pass }
        });
        Self { proxy, lost }
    }

    pub fn endpoint(&self) -> String {
        self.proxy.endpoint()
    }

    /// Returns how many answers were lost: none or one.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

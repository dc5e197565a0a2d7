//! Writes that are waited for, whatever becomes of whoever began them.

use std::sync::Arc;

use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// The writes that are under way.
///
/// A write whose future is dropped still happens on the server. So each runs as a task of its own, which
/// ends only with the server's answer, and [`settle`](Writes::settle) waits for all of them.
#[derive(Default)]
pub(super) struct Writes(Arc<RwLock<()>>);

impl Writes {
    pub(super) async fn run<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        ended(self.begin(write).await).await
    }

    /// Begins a write and leaves it to the caller to wait for its end.
    pub(super) async fn begin<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let under_way = Arc::clone(&self.0).read_owned().await;
        tokio::spawn(async move {
            let outcome = write.await;
            drop(under_way);
            outcome
        })
    }

    pub(super) async fn settle(&self) {
        drop(self.0.write().await);
    }
}

/// Waits for a write that was begun.
pub(super) async fn ended<T>(write: JoinHandle<Result<T>>) -> Result<T> {
    write.await.map_err(|error| Error::failed("a write stopped").caused_by(error))?
}

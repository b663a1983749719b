//! A thread that drives requests, for callers that wait.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread with a runtime of its own. It ends when this is dropped.
///
/// The traits of stores are synchronous, and the archiver calls them from futures, where blocking on
/// the same runtime would panic or never end.
#[derive(Debug)]
pub(super) struct Engine {
    handle: Handle,
    /// Dropped, it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Engine {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("s3".to_owned()).spawn(move || {
            // Either way it is the end: nobody can ask for anything any more.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, _stop: stop })
    }

    /// Runs a request on the thread, and waits for what it comes to; `None` where it panicked.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // Whoever asked is waiting.
            let _ = sender.send(request.await);
        });
        receiver.recv().ok()
    }
}

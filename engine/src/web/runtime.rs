//! The library's runtime, one value per link: every task that the library starts is counted and can
//! be ended, so that a closed link leaves nothing behind (its QR task would otherwise live on for
//! minutes).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use whatsapp_rust::Runtime;
use whatsapp_rust::wacore::runtime::AbortHandle;

type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Spawns tasks that end with the link.
#[derive(Clone)]
pub(super) struct LinkRuntime {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Blocking jobs of the whole node at a time: generating prekeys for many links at once would
    /// take every core.
    blocking: Arc<Semaphore>,
}

impl LinkRuntime {
    pub(super) fn new(blocking: Arc<Semaphore>) -> Self {
        Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            blocking,
        }
    }

    /// Starts a task that nobody waits for.
    pub(super) fn detach(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Boxed: whatever wraps a future by value takes its size once more.
        self.spawn_detached(Box::pin(task));
    }

    /// Ends every task and waits until they are gone; false when one still runs at the deadline.
    pub(super) async fn stop(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok()
    }
}

#[async_trait]
impl Runtime for LinkRuntime {
    fn spawn(&self, future: Task) -> AbortHandle {
        let stop = self.stop.clone();
        let task = self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled_owned(future).await;
        });
        AbortHandle::new(move || task.abort())
    }

    fn spawn_detached(&self, future: Task) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled_owned(future).await;
        });
    }

    fn sleep(&self, duration: Duration) -> Task {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send + 'static>) -> Task {
        let (tasks, blocking) = (self.tasks.clone(), Arc::clone(&self.blocking));
        Box::pin(async move {
            // The semaphore is never closed; without a permit the job would run uncounted.
            let Ok(_permit) = blocking.acquire_owned().await else {
                return;
            };
            // A job that panics drops its channel, which is what its caller waits on.
            let _ = tasks.spawn_blocking(job).await;
        })
    }

    fn yield_now(&self) -> Option<Task> {
        None
    }
}

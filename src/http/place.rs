//! A request's place among those being worked on. While its body is on the way it waits elsewhere, so
//! that clients who send slowly take no place from the others.

use std::sync::{Arc, Mutex, PoisonError};

use roost_domain::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Answer, Problem};

/// The places of a node.
#[derive(Debug, Clone)]
pub struct Places {
    work: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

/// One request's place; the edge holds it until the request is answered, and puts a clone into the
/// request's extensions.
#[derive(Debug, Clone)]
pub struct Place {
    places: Places,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Places {
    /// So many for work, and so many for waiting for bodies.
    pub fn new(work: usize, uploads: usize) -> Self {
        Self {
            work: Arc::new(Semaphore::new(work)),
            uploads: Arc::new(Semaphore::new(uploads)),
        }
    }

    /// Takes a place.
    pub fn take(&self) -> Answer<Place> {
        let permit = take(&self.work, "too many requests are being worked on")?;
        Ok(Place {
            places: self.clone(),
            permit: Arc::new(Mutex::new(Some(permit))),
        })
    }
}

impl Place {
    /// Gives the place to others until what is waited for is there. When it does not come no place is
    /// needed any more.
    pub async fn while_waiting<T, E>(
        &self,
        waiting: impl Future<Output = Result<T, E>>,
    ) -> Answer<Result<T, E>> {
        let aside = take(&self.places.uploads, "too many bodies are on their way")?;
        drop(self.put(None));
        let arrived = waiting.await;
        drop(aside);
        if arrived.is_ok() {
            let permit = take(&self.places.work, "too many requests are being worked on")?;
            self.put(Some(permit));
        }
        Ok(arrived)
    }

    fn put(&self, permit: Option<OwnedSemaphorePermit>) -> Option<OwnedSemaphorePermit> {
        let mut held = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, permit)
    }
}

fn take(places: &Arc<Semaphore>, full: &str) -> Answer<OwnedSemaphorePermit> {
    Arc::clone(places)
        .try_acquire_owned()
        .map_err(|_| Problem::new(ErrorCode::Overloaded, full))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    async fn arrived() -> Result<(), ()> {
        Ok(())
    }

    #[tokio::test]
    async fn who_waits_for_a_body_takes_no_place_from_others() {
        let places = Places::new(1, 1);
        let first = places.take().unwrap();
        assert_eq!(places.take().unwrap_err().code(), ErrorCode::Overloaded);
        let mut slow = Box::pin(first.while_waiting(std::future::pending::<Result<(), ()>>()));
        assert!(slow.as_mut().now_or_never().is_none());
        let second = places.take().unwrap();
        let refused = second.while_waiting(arrived()).await.unwrap_err();
        assert_eq!(
            refused.code(),
            ErrorCode::Overloaded,
            "places for waiting are counted too"
        );
        drop(slow);
        drop(first);
        second.while_waiting(arrived()).await.unwrap().unwrap();
        assert!(places.take().is_err(), "it has its place again");
        drop(second);
        assert!(places.take().is_ok());
    }
}

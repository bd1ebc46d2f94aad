//! Tenants whose actors rest, on every node.

use super::*;
use crate::Rest;
use crate::cluster::{Listener, News};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_actors_end_on_other_nodes_when_that_is_asked_for_and_come_back() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.number_on(&b, &a).await);
    assert!(b.runs("instance", id));
    assert!(a.runtime.rest_elsewhere(tenant, Rest::Suspended).await);
    assert!(!b.runs("instance", id), "it had ended when the answer came");
    assert_eq!(b.runtime.resting()[&tenant], (Rest::Suspended, true));
    assert!(a.runtime.resting().is_empty(), "this is about the others");

    stage.net.cut(&name("b"), true);
    assert!(
        !a.runtime.rest_elsewhere(tenant, Rest::Suspended).await,
        "b cannot say"
    );
    stage.net.cut(&name("b"), false);
    b.runtime.wake(tenant).await.unwrap();
    stage.in_state(&b, id, InstanceState::Connected).await;
    stage.end([a, b]).await;
}

struct Ear(std::sync::Mutex<Vec<News>>);

impl Listener for Ear {
    fn told(&self, news: News) {
        self.0.lock().unwrap().push(news);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_tells_the_others_hear() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let ear = Arc::new(Ear(std::sync::Mutex::default()));
    b.runtime.listen(Arc::clone(&ear) as _);
    let news = News::TenantChanged {
        tenant: stage.tenant(),
        turned: true,
    };
    a.runtime.tell(&news);
    stage.net.cut(&name("a"), true);
    a.runtime.tell(&news);
    assert_eq!(*ear.0.lock().unwrap(), [news]);
    stage.net.cut(&name("a"), false);
    stage.end([a, b]).await;
}

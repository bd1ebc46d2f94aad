use std::time::Instant;
use crate::world::World;
use roost_domain::store::StateOp;
fn show(w: &World, what: &str) {
    let units = w.state.take_units();
    println!("== {what}: {} units", units.len());
    for u in units { 
        let s: Vec<String> = u.iter().map(|o| match o { StateOp::Put{collection,value,..} => format!("+{collection:?}({})",value.len()), StateOp::Delete{collection,..}=>format!("-{collection:?}"), StateOp::Clear{collection,..}=>format!("x{collection:?}")}).collect();
        let n=s.len(); println!("   {n}: {}", s.into_iter().take(8).collect::<Vec<_>>().join(" "));
    }
}
#[tokio::test(flavor = "multi_thread")]
async fn timing() {
    let w = World::new().await;
    let t = Instant::now();
    let o = w.paired().await;
    println!("paired in {:?}", t.elapsed());
    show(&w, "pair");
    for i in 0..4 {
        let t = Instant::now();
        let m = roost_domain::engine::Outgoing { whatsapp_id: format!("3EB0{i:018X}"), to: crate::world::address(crate::world::FRIEND), content: roost_domain::message::Content::text(format!("t{i}")), reply_to: None };
        o.link.send(&m).await.unwrap();
        println!("send {:?}", t.elapsed());
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        show(&w, "send");
    }
    for _ in 0..3 {
        let id = w.friend_sends(serde_json::json!({"text": "hi"})).await;
        o.said.message("x", |m| m.whatsapp_id == id).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        show(&w, "receive");
    }
    let t = Instant::now();
    o.link.close().await;
    println!("closed in {:?}", t.elapsed());
    show(&w, "close");
    for _ in 0..3 {
        let t = Instant::now();
        let o = w.open(None).await;
        println!("opened in {:?}", t.elapsed());
        o.connected().await;
        println!("connected in {:?}", t.elapsed());
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        show(&w, "login");
        println!("facts {:?}", o.said.facts());
        o.link.close().await;
        show(&w, "close");
    }
}

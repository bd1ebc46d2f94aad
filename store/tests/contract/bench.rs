use std::time::{Duration, Instant};
use bytes::Bytes;
use roost_domain::message::*;
use roost_domain::store::*;
use crate::fixture::*;

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}

async fn run(name: &str, f: &Fixture, producers: usize, mut op: impl FnMut(usize) -> Box<dyn FnMut(usize) -> std::pin::Pin<Box<dyn std::future::Future<Output = ()> + Send>> + Send>) {
    let _ = f;
    let start = Instant::now();
    let c0 = cpu();
    let each: usize = std::env::var("EACH").ok().and_then(|e| e.parse().ok()).unwrap_or(800);
    let mut handles = vec![];
    for p in 0..producers {
        let mut o = op(p);
        handles.push(tokio::spawn(async move {
            let mut lat = Vec::new();
            for n in 0..each { let t = Instant::now(); o(n).await; lat.push(t.elapsed()); }
            lat
        }));
    }
    let mut lat: Vec<Duration> = vec![];
    for h in handles { lat.extend(h.await.unwrap()); }
    let wall = start.elapsed().as_secs_f64();
    lat.sort();
    let n = lat.len();
    println!("{name:14} {producers:3} producers: {:8.0}/s  p50 {:?} p99 {:?}  cpu {:.1} us/unit", n as f64 / wall, lat[n/2], lat[n*99/100], (cpu()-c0)*1e6/n as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore]
async fn bench_sqlite() { bench(Fixture::sqlite().await).await }
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore]
async fn bench_postgres() { bench(Fixture::postgres().await).await }

async fn bench(f: Fixture) {
    let tenant = f.tenant().await;
    let mut owners = vec![];
    for _ in 0..50 { owners.push(f.instance(tenant).await); }
    for producers in [1, 64] {
        let ids = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let news = |p: usize| { let s = f.store.clone(); let owner = owners[p % 50]; let ent = f.entropy.clone(); let base = f.new_message("hello this is a message of usual length, as people write them"); (s, owner, ent, base, ids.clone()) };
        use roost_domain::time::Entropy;
        run("accept", &f, producers, |p| { let (s, owner, ent, base, ids) = news(p); Box::new(move |_| { let s = s.clone(); let mut b = base.clone(); b.id = roost_domain::MessageId::from_parts(START_MS as u64, ent.bits()); b.whatsapp_id = new_whatsapp_id(ent.bits()); ids.lock().unwrap().push((owner, b.whatsapp_id.clone())); Box::pin(async move { s.accept(owner, b, None).await.unwrap(); }) }) }).await;
        let all = std::sync::Arc::new(std::mem::take(&mut *ids.lock().unwrap()));
        let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for status in [MessageStatus::Sent, MessageStatus::Delivered] {
            next.store(0, std::sync::atomic::Ordering::SeqCst);
            run("advance", &f, producers, |_| { let s = f.store.clone(); let all = all.clone(); let next = next.clone(); let at = f.now(); Box::new(move |_| { let s = s.clone(); let (owner, id) = all[next.fetch_add(1, std::sync::atomic::Ordering::SeqCst)].clone(); Box::pin(async move { let m = s.advance(owner, vec![StatusChange { whatsapp_id: id, direction: Direction::Outbound, status, failure: None, at }]).await.unwrap(); assert_eq!(m.len(), 1); }) }) }).await;
        }
        run("record_inbound", &f, producers, |p| { let s = f.store.clone(); let owner = owners[p % 50]; let ent = f.entropy.clone(); let base = f.inbound_text("x", "hello this is a message of usual length, as people write them"); Box::new(move |_| { let s = s.clone(); let mut b = base.clone(); b.whatsapp_id = new_whatsapp_id(ent.bits()); Box::pin(async move { s.record_inbound(owner, vec![b]).await.unwrap(); }) }) }).await;
        run("apply 2x600B", &f, producers, |p| { let s = f.store.clone(); let owner = owners[p % 50]; Box::new(move |n| { let s = s.clone(); let ops = vec![
            StateOp::Put { collection: Collection::Session, key: format!("49151000{:04}.0:{p}", n % 40), value: Bytes::from(vec![n as u8; 600]), expires_at: None },
            StateOp::Put { collection: Collection::SentMessage, key: format!("3EB0{n:016X}{p}"), value: Bytes::from(vec![n as u8; 600]), expires_at: Some(roost_domain::Timestamp::from_unix_ms(START_MS + 100000)) }]; Box::pin(async move { s.apply(owner, ops).await.unwrap(); }) }) }).await;
        run("get", &f, producers, |p| { let s = f.store.clone(); let owner = owners[p % 50]; Box::new(move |n| { let s = s.clone(); Box::pin(async move { s.get(owner, Collection::Session, &format!("49151000{:04}.0:{p}", n % 40)).await.unwrap(); }) }) }).await;
        run("mixed x5", &f, producers, |p| { let (s, owner, ent, base, _) = news(p); let at = f.now(); Box::new(move |n| { let s = s.clone(); let mut b = base.clone(); b.id = roost_domain::MessageId::from_parts(START_MS as u64, ent.bits()); b.whatsapp_id = new_whatsapp_id(ent.bits()); Box::pin(async move {
            let id = b.whatsapp_id.clone();
            s.accept(owner, b, None).await.unwrap();
            s.apply(owner, vec![StateOp::Put { collection: Collection::Session, key: format!("49151000{:04}.0:{p}", n % 40), value: Bytes::from(vec![n as u8; 600]), expires_at: None }]).await.unwrap();
            for status in [MessageStatus::Sent, MessageStatus::Delivered, MessageStatus::Read] { s.advance(owner, vec![StatusChange { whatsapp_id: id.clone(), direction: Direction::Outbound, status, failure: None, at }]).await.unwrap(); } }) }) }).await;
        let new = f.instance(tenant).await;
        let t = Instant::now();
        f.store.apply(new, (0..812).map(|n| StateOp::Put { collection: Collection::Prekey, key: format!("{n:08}"), value: Bytes::from(vec![1; 80]), expires_at: None }).collect()).await.unwrap();
        println!("pairing 812 prekeys: {:?}", t.elapsed());
    }
}

//! What a call costs. Not a test: `cargo test --release -p roost-link --test mesh measure -- --ignored
//! --nocapture` prints it. The first line of each mode warms up.

use crate::node::Order;
use crate::stage::Stage;

#[tokio::test]
#[ignore = "prints numbers, and proves nothing"]
async fn measure_calls_over_loopback() {
    for (mode, stage) in [("mutual TLS", Stage::new()), ("plain", Stage::plain())] {
        let [a, _b] = stage.linked(["a", "b"]).await;
        for (bytes, calls, parallel) in [
            (512, 1_000, 1),
            (512, 5_000, 1),
            (512, 20_000, 16),
            (512, 40_000, 64),
            (512, 40_000, 256),
            (65_536, 1_000, 4),
            (1 << 20, 100, 4),
        ] {
            let measured = a
                .tell(Order::Measure {
                    node: "b".to_owned(),
                    bytes,
                    calls,
                    parallel,
                })
                .await;
            eprintln!("{mode}: {bytes} bytes, {parallel} callers: {measured}");
        }
        let order = |bytes, calls, parallel| Order::Measure {
            node: "b".to_owned(),
            bytes,
            calls,
            parallel,
        };
        let large = a.begin(order(1 << 20, 400, 4)).await;
        let small = a.tell(order(512, 300, 1)).await;
        eprintln!("{mode}: 512 bytes, 1 caller, beside 4 with 1 MiB: {small}");
        eprintln!("{mode}: those 4: {}", large.await.unwrap());
    }
}

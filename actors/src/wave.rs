//! Ends the children of a registry: in good order and in waves, and by force what does not end in time.

use tokio::time::{Instant, timeout_at};

use crate::Settings;
use crate::registry::{Children, Kind, Slots};

/// Asks all children that live in slots to stop, some at a time, and waits for each wave.
pub(crate) async fn stop_all<K: Kind>(children: &Children<K>, settings: &Settings, deadline: Instant) {
    let keys = children.keys_in(&Slots::All);
    let mut waves: Vec<Slots> = Vec::new();
    for wave in keys.chunks(settings.stop_wave.max(1)) {
        waves.push(Slots::These(
            wave.iter().filter_map(|&key| children.slot(key)).collect(),
        ));
    }
    for slots in waves {
        stop(children, slots, settings, deadline).await;
    }
}

/// Asks the children of some slots to stop, and waits for them.
pub(crate) async fn stop<K: Kind>(
    children: &Children<K>,
    slots: Slots,
    settings: &Settings,
    deadline: Instant,
) {
    let end = deadline.min(Instant::now() + settings.stop_session_timeout);
    match children.stop_slots(slots, false, end).await {
        // What does not end now is killed later.
        Ok(keys) => drop(timeout_at(end, children.gone(&keys)).await),
        Err(error) => {
            tracing::warn!(registry = K::REGISTRY, %error, "actors could not be asked to stop");
        }
    }
}

/// Kills the children of some slots. `true` when none of them is left.
pub(crate) async fn kill<K: Kind>(children: &Children<K>, slots: Slots, settings: &Settings) -> bool {
    let end = Instant::now() + settings.stop_session_timeout;
    match children.stop_slots(slots.clone(), true, end).await {
        Ok(keys) => timeout_at(end, children.gone(&keys)).await.is_ok(),
        Err(_) => children.keys_in(&slots).is_empty(),
    }
}

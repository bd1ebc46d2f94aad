//! Options of the sockets between nodes.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the system asks the other side.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);

/// Pause between its questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);

/// Time for sent bytes to be acknowledged, after which the system ends the connection. The pings notice
/// earlier; this is for sockets whose peer is not known yet, and for what is left of cut ones.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Prepares a socket: no delay, and an end when the other side is gone.
pub(crate) fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

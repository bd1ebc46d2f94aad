//! A socket that takes bytes only while its link may act.
//!
//! Whether it may is asked right before the kernel is: a process can be stopped, and woken up much later,
//! at any place between an earlier question and the write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::web::tenure::Tenure;

/// See the module.
pub(super) struct Guarded<S> {
    pub(super) socket: S,
    pub(super) tenure: Tenure,
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tenure.check().map_err(io::Error::other)?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use roost_domain::cluster::Lease;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::web::tenure::tests::Lives;

    #[tokio::test]
    async fn not_a_byte_gets_out_after_the_lease_and_what_came_can_still_be_read() {
        let lives = Arc::new(Lives(AtomicU64::new(1)));
        let lease: Arc<dyn Lease> = Arc::clone(&lives) as _;
        let (socket, mut server) = duplex(64);
        let mut guarded = Guarded {
            socket,
            tenure: Tenure::begin(Some(&lease)).unwrap(),
        };
        guarded.write_all(b"before").await.unwrap();
        server.write_all(b"answer").await.unwrap();
        for life in [0, 2] {
            lives.0.store(life, Ordering::SeqCst);
            assert!(guarded.write_all(b"after").await.is_err());
        }
        let mut came = [0; 6];
        guarded.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"answer");
        drop(guarded);
        let mut sent = Vec::new();
        server.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, b"before");
    }
}

//! TCP's own question whether the other machine is still there: on quiet connections nobody else asks it.

use std::time::Duration;

use socket2::TcpKeepalive;

/// A machine that has said nothing for two minutes, and does not answer when asked, is gone: after a minute of silence,
/// it is asked four times, every 15 seconds.
pub const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

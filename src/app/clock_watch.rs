//! Whether the machine's clock jumps: timeouts, codes and signatures are judged by it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::domain::time::{Short, Timestamp};

/// It is looked at this often.
const EVERY: Duration = Duration::from_secs(2);
/// Less may be a busy machine, or whole seconds.
const LEAST: Duration = Duration::from_secs(30);

/// Where the clock stood, and when that was by a clock that cannot be set.
#[derive(Clone, Copy, Debug)]
struct Look {
    clock: Timestamp,
    at: Instant,
}

/// What a clock did that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jump {
    Forward(Duration),
    Back(Duration),
}

impl Look {
    fn jump(self, next: Self) -> Option<Jump> {
        let expected = self.clock + (next.at - self.at);
        let seconds = next.clock.unix() - expected.unix();
        let by = Duration::from_secs(seconds.unsigned_abs());
        let jump = if seconds < 0 { Jump::Back(by) } else { Jump::Forward(by) };
        (by >= LEAST).then_some(jump)
    }
}

/// Tells the log of each jump.
pub(super) async fn watch(clock: Arc<dyn Clock>) {
    let look = || Look { clock: clock.now(), at: Instant::now() };
    let mut last = look();
    loop {
        sleep(EVERY).await;
        let next = look();
        match last.jump(next) {
            Some(Jump::Forward(by)) => tracing::warn!(
                by = %Short(by),
                "the clock jumped forward: sessions and codes are as much older; if it is wrong now, set it and look at \
                 the time service (timedatectl)"
            ),
            Some(Jump::Back(by)) => tracing::warn!(
                by = %Short(by),
                "the clock jumped back: sessions last as much longer, and what was counted counts longer; if it is wrong \
                 now, set it and look at the time service (timedatectl)"
            ),
            None => {}
        }
        last = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_is_told_from_one_that_goes() {
        let look = |unix| Look { clock: Timestamp::from_unix(unix), at: Instant::now() };
        let first = look(1_800_000_000);
        tokio::time::advance(Duration::from_secs(7_200)).await;
        for (unix, jump) in [
            (1_800_007_200, None),
            (1_800_007_229, None),
            (1_800_007_230, Some(Jump::Forward(LEAST))),
            (1_800_007_171, None),
            (1_800_003_600, Some(Jump::Back(Duration::from_secs(3_600)))),
        ] {
            assert_eq!(first.jump(look(unix)), jump, "{unix}");
        }
    }
}

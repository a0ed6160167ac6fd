//! Declares proxies lost, and later forgotten, when they have certainly stopped.

use std::time::Duration;

use miroir_core::cluster::{Command, Proxy};
use miroir_core::id::ProxyId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{LeaseRules, Sessions};
use crate::cluster::Cluster;

/// How often leases are looked at.
const TICK: Duration = Duration::from_millis(200);

/// Watches leases until cancelled. Leader-only.
pub async fn run<C: Cluster>(cluster: C, sessions: Sessions, cancel: CancellationToken) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = tick.tick() => {}
        }
        let proxies: Vec<Proxy> = cluster.read(|state| state.proxies.values().cloned().collect());
        for verdict in verdicts(&proxies, &sessions, Instant::now()) {
            carry_out(&cluster, &sessions, verdict).await;
        }
        cluster.read(|state| {
            sessions.retain(
                |proxy| state.proxies.contains_key(&proxy),
                |migration| {
                    state
                        .migrations
                        .get(&migration)
                        .is_some_and(|m| !m.phase.is_final())
                },
            );
        });
    }
}

/// What time has shown of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Lost(ProxyId),
    Gone(ProxyId),
}

fn verdicts(proxies: &[Proxy], sessions: &Sessions, now: Instant) -> Vec<Verdict> {
    let rules = sessions.rules();
    let mut found = Vec::new();
    for proxy in proxies {
        let silent = now.saturating_duration_since(sessions.last_contact(proxy.id));
        if !proxy.lost && silent > rules.writes_over() {
            found.push(Verdict::Lost(proxy.id));
        } else if proxy.lost && silent > reads_over(proxy, proxies, rules) {
            found.push(Verdict::Gone(proxy.id));
        }
    }
    found
}

/// How long a lost proxy may go on reading.
fn reads_over(proxy: &Proxy, all: &[Proxy], rules: LeaseRules) -> Duration {
    let later = all.iter().filter(|other| other.id > proxy.id);
    if later.clone().any(|other| other.instance == proxy.instance) {
        // The same process came back under a new id, and what it acknowledges covers all its reads.
        Duration::ZERO
    } else if later.into_iter().any(|other| other.url == proxy.url) {
        rules.reads_over_when_superseded()
    } else {
        rules.reads_over()
    }
}

async fn carry_out<C: Cluster>(cluster: &C, sessions: &Sessions, verdict: Verdict) {
    let command = match verdict {
        Verdict::Lost(proxy) => {
            if !sessions.condemn(proxy, sessions.rules().writes_over()) {
                return;
            }
            warn!(%proxy, "its lease has run out; another proxy takes over its indexes");
            Command::LoseProxy { proxy }
        }
        Verdict::Gone(proxy) => {
            info!(%proxy, "it reads no more and is forgotten");
            Command::ForgetProxy { proxy }
        }
    };
    // Whatever became of it, the next tick looks at the state again.
    if let Err(error) = cluster.propose(command).await {
        warn!(%error, "could not commit the loss of a proxy; trying again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(id: u64, instance: &str, url: &str, lost: bool) -> Proxy {
        Proxy {
            id: ProxyId(id),
            instance: instance.to_owned(),
            name: instance.to_owned(),
            url: url.to_owned(),
            lost,
            registered_at_ms: 0,
        }
    }

    fn sessions() -> Sessions {
        Sessions::new(LeaseRules {
            lease: Duration::from_secs(4),
            static_reads: Duration::from_secs(600),
            late_request: Duration::from_secs(1),
            read_timeout: Duration::from_secs(30),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_is_lost_only_when_its_lease_is_certainly_over() {
        let sessions = sessions();
        let silent = [proxy(1, "a", "http://a", false)];
        let at = |after: Duration| verdicts(&silent, &sessions, sessions.leading_since() + after);
        assert_eq!(at(Duration::from_secs(6)), []);
        assert_eq!(at(Duration::from_millis(6001)), [Verdict::Lost(ProxyId(1))]);
        tokio::time::advance(Duration::from_secs(5)).await;
        let connection = sessions.opened(ProxyId(1)).expect("not condemned");
        assert_eq!(at(Duration::from_secs(8)), []);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(sessions.renewed(ProxyId(1), connection));
        assert_eq!(at(Duration::from_secs(16)), []);
        assert_eq!(
            at(Duration::from_millis(16_001)),
            [Verdict::Lost(ProxyId(1))]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_proxy_is_forgotten_when_it_reads_no_more() {
        let sessions = sessions();
        let after = |all: &[Proxy], secs: u64| {
            verdicts(
                all,
                &sessions,
                sessions.leading_since() + Duration::from_secs(secs),
            )
        };
        let alone = [proxy(1, "a", "http://a", true)];
        assert_eq!(after(&alone, 780), []);
        assert_eq!(after(&alone, 781), [Verdict::Gone(ProxyId(1))]);
        let superseded = [
            proxy(1, "a", "http://a", true),
            proxy(2, "b", "http://a", true),
        ];
        assert_eq!(after(&superseded, 36), []);
        assert_eq!(after(&superseded, 37), [Verdict::Gone(ProxyId(1))]);
        let same_process = [
            proxy(1, "a", "http://a", true),
            proxy(2, "a", "http://a", true),
        ];
        assert_eq!(after(&same_process, 1), [Verdict::Gone(ProxyId(1))]);
    }
}

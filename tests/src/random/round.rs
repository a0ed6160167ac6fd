//! One round: clients work, the cluster is changed and harmed, then healed, then compared with what must be.

use std::time::Duration;

use anyhow::{Context, bail};
use miroir_dev::admin::Admin;
use miroir_dev::cluster::Role;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::change::{Kind, choose};
use super::check::{Findings, check};
use super::harm::{Harm, Harms, Victim};
use super::script::{Deed, Script};
use super::search::{Searchers, Seen};
use super::stage::Stage;
use super::view::View;
use super::workload::Tally;
use super::{Bias, INDEX};

/// How long clients go on writing to a cluster that is being healed.
const AFTERWARDS: Duration = Duration::from_millis(400);

/// How long a change may take to be answered.
const CHANGED_WITHIN: Duration = Duration::from_secs(60);

/// How long a leader may take to notice that a node is dead.
const NOTICED_WITHIN: Duration = Duration::from_secs(4);

/// What a round showed.
#[derive(Debug)]
pub struct Shown {
    /// What is wrong.
    pub findings: Findings,
    /// Something that is no difference, but may not be either: clients were refused though nothing was harmed.
    pub refused: Vec<String>,
    /// One line about it.
    pub summary: String,
}

/// Plays a round.
///
/// # Errors
/// When the cluster does not become whole, or the drill itself fails.
pub async fn play(stage: &mut Stage, bias: Bias, rng: &mut StdRng) -> anyhow::Result<Shown> {
    let script = Script::draw(bias, rng);
    let crew = stage.crew.take().context("the clients are gone")?;
    let began = Instant::now();
    let searchers = Searchers::start(&stage.client, script.searchers);
    let writers = crew.start();
    let mut play = Play {
        stage,
        bias,
        harms: Harms::default(),
        undo: Vec::new(),
        changes: JoinSet::new(),
    };
    let played = play.perform(&script, rng).await;
    let healed = play.heal().await;
    tokio::time::sleep(AFTERWARDS).await;
    let (mut crew, tally) = writers.stop().await?;
    let worked = began.elapsed();
    played?;
    healed?;
    stage.settle().await?;
    let seen = searchers.stop().await?;
    let settled = began.elapsed();
    let mut findings = check(stage, &mut crew).await?;
    stage.crew = Some(crew);
    for wrong in &seen.wrong {
        findings.add(format!("a search was silently wrong: {wrong}"));
    }
    let summary = format!(
        "{} deeds; writes: {} acknowledged, {} unknown, {} refused; searches: {} answered, {} failed; {} compared; \
         {:.1} s of work, {:.1} s to settle, {:.1} s to check",
        script.deeds.len(),
        tally.acknowledged,
        tally.unknown,
        tally.refused,
        seen.answered,
        seen.failed.len(),
        findings.compared,
        worked.as_secs_f64(),
        (settled - worked).as_secs_f64(),
        (began.elapsed() - settled).as_secs_f64(),
    );
    stage.trail.note(&summary);
    let refused = if script.is_harmful() {
        Vec::new()
    } else {
        refusals(tally, seen, stage.is_patient())
    };
    Ok(Shown {
        findings,
        refused,
        summary,
    })
}

/// What clients were refused that they should not have been.
fn refusals(tally: Tally, seen: Seen, patient: bool) -> Vec<String> {
    let writes = tally.failures.into_iter().filter(|_| patient);
    writes.chain(seen.failed).collect()
}

struct Play<'a> {
    stage: &'a mut Stage,
    bias: Bias,
    harms: Harms,
    /// Harm that is to be undone, by when.
    undo: Vec<(Instant, Harm)>,
    changes: JoinSet<()>,
}

impl Play<'_> {
    async fn perform(&mut self, script: &Script, rng: &mut StdRng) -> anyhow::Result<()> {
        let began = Instant::now();
        for (at, deed) in &script.deeds {
            self.wait_until(began + *at).await?;
            match deed {
                Deed::Change(kind) => self.change(*kind, rng).await?,
                Deed::Harm(victim, lasting) => self.harm(*victim, *lasting, rng).await?,
            }
        }
        self.wait_until(began + script.length).await
    }

    /// Waits, and undoes meanwhile what is to be undone.
    async fn wait_until(&mut self, until: Instant) -> anyhow::Result<()> {
        while let Some(turn) = (0..self.undo.len()).min_by_key(|turn| self.undo[*turn].0) {
            if self.undo[turn].0 > until {
                break;
            }
            let (at, harm) = self.undo.swap_remove(turn);
            tokio::time::sleep_until(at).await;
            self.stage.trail.note(format_args!("undone: {harm:?}"));
            let (cluster, network) = (&mut self.stage.cluster, self.stage.network.as_ref());
            self.harms.undo(cluster, network, &harm).await?;
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    /// Asks for a change, without waiting for the answer.
    async fn change(&mut self, kind: Kind, rng: &mut StdRng) -> anyhow::Result<()> {
        let mut urls = Vec::new();
        match kind {
            Kind::AddNode => urls.extend(self.stage.start_node()?),
            Kind::AddGroup => {
                for _ in 0..2 {
                    urls.extend(self.stage.start_node()?);
                }
            }
            Kind::ForceRemove => urls.extend(self.kill_some_node(rng).await?),
            Kind::RemoveNode
            | Kind::Drain
            | Kind::Undrain
            | Kind::RemoveGroup
            | Kind::Copies
            | Kind::Rebalance
            | Kind::Move
            | Kind::Pin
            | Kind::Hold
            | Kind::Policy
            | Kind::Control => {}
        }
        let admin = self.stage.cluster.admin.clone();
        let trail = self.stage.trail.clone();
        let mut rng = StdRng::seed_from_u64(rng.random());
        self.changes.spawn(async move {
            let done = ask(kind, &admin, &mut rng, &urls).await;
            let done = done.unwrap_or_else(|error| format!("{kind:?} refused: {error:#}"));
            trail.note(done);
        });
        Ok(())
    }

    /// Kills a node for good; answers its URL.
    async fn kill_some_node(&mut self, rng: &mut StdRng) -> anyhow::Result<Option<String>> {
        let nodes = self.unharmed_nodes();
        let Some(Role::Node(node)) = nodes.choose(rng).copied() else {
            return Ok(None);
        };
        self.stage
            .trail
            .note(format_args!("node {node} is killed for good"));
        self.stage.cluster.kill(Role::Node(node)).await?;
        Ok(Some(self.stage.cluster.layout.node_url(node)))
    }

    fn unharmed_nodes(&mut self) -> Vec<Role> {
        let mut nodes = self.stage.running_nodes();
        nodes.retain(|role| !self.harms.suffers(*role));
        nodes
    }

    async fn harm(
        &mut self,
        victim: Victim,
        lasting: Duration,
        rng: &mut StdRng,
    ) -> anyhow::Result<()> {
        let roles = self.victims(victim, rng).await;
        let roles: Vec<Role> = roles
            .into_iter()
            .filter(|role| !self.harms.suffers(*role))
            .collect();
        let Some(first) = roles.first().copied() else {
            return Ok(());
        };
        let harm = match (self.bias, roles.len()) {
            (Bias::ReadBarrier, _) => Harm::Pause(first),
            (Bias::Anything, 1) => self.some_harm(first, rng),
            _ => Harm::Kill(roles),
        };
        self.stage
            .trail
            .note(format_args!("{harm:?} for {lasting:?}"));
        let (cluster, network) = (&mut self.stage.cluster, self.stage.network.as_ref());
        self.harms.inflict(cluster, network, harm.clone()).await?;
        self.undo.push((Instant::now() + lasting, harm));
        Ok(())
    }

    fn some_harm(&mut self, role: Role, rng: &mut StdRng) -> Harm {
        let mut others = self.unharmed_nodes();
        others.extend((1..=3).map(Role::Coordinator));
        others.extend((1..=2).map(Role::Proxy));
        others.retain(|other| *other != role);
        let kinds = if self.stage.network.is_some() { 3 } else { 2 };
        match (rng.random_range(0..kinds), others.choose(rng)) {
            (0, _) => Harm::Pause(role),
            (2, Some(other)) => Harm::Cut(role, *other),
            (_, _) => Harm::Kill(vec![role]),
        }
    }

    /// The processes that are meant. Nobody, when the cluster cannot say in time who that is.
    async fn victims(&mut self, victim: Victim, rng: &mut StdRng) -> Vec<Role> {
        let coordinators = self.stage.cluster.layout.options.coordinators;
        match victim {
            Victim::Leader => {
                let leader = self.stage.cluster.admin.leader().await;
                leader.ok().map(Role::Coordinator).into_iter().collect()
            }
            Victim::Coordinator => vec![Role::Coordinator(rng.random_range(1..=coordinators))],
            Victim::Coordinators => (1..=coordinators).map(Role::Coordinator).collect(),
            Victim::Writer | Victim::Reader => {
                let writer = self.stage.writer().await.ok().flatten();
                let mut proxies: Vec<u16> = (1..=2).collect();
                proxies.retain(|n| (Some(*n) == writer) == (victim == Victim::Writer));
                proxies
                    .choose(rng)
                    .map(|n| Role::Proxy(*n))
                    .into_iter()
                    .collect()
            }
            Victim::Node => {
                let nodes = self.unharmed_nodes();
                nodes.choose(rng).copied().into_iter().collect()
            }
        }
    }

    /// Undoes all harm, waits for the answers of all changes, and has the right nodes run.
    async fn heal(&mut self) -> anyhow::Result<()> {
        self.stage.trail.note("healing");
        let (cluster, network) = (&mut self.stage.cluster, self.stage.network.as_ref());
        self.harms.undo_all(cluster, network).await?;
        let answered = async { while self.changes.join_next().await.is_some() {} };
        if tokio::time::timeout(CHANGED_WITHIN, answered)
            .await
            .is_err()
        {
            bail!("a change was not answered within {CHANGED_WITHIN:?}");
        }
        self.stage.run_right_nodes().await?;
        self.stage.unpin_all().await
    }
}

impl Stage {
    /// The number of the proxy that orders the writes, if there is one now.
    async fn writer(&self) -> anyhow::Result<Option<u16>> {
        let detail = self.cluster.admin.index(INDEX).await?;
        let writer = detail.summary.and_then(|summary| summary.writer);
        let proxies = self.cluster.admin.proxies().await?;
        let url = proxies
            .into_iter()
            .find(|proxy| Some(proxy.id) == writer)
            .map(|proxy| proxy.url);
        let layout = &self.cluster.layout;
        Ok((1..=layout.options.proxies).find(|n| url.as_ref() == Some(&layout.proxy_url(*n))))
    }
}

/// Asks for a change that makes sense at present; now and then what it would do is asked first.
async fn ask(
    kind: Kind,
    admin: &Admin,
    rng: &mut StdRng,
    urls: &[String],
) -> anyhow::Result<String> {
    for url in urls.iter().filter(|_| kind != Kind::ForceRemove) {
        Stage::wait_for_node(url).await?;
    }
    let mut view = View::take(admin).await?;
    if kind == Kind::ForceRemove {
        // As long as the leader has not noticed that it is dead, its removal by force is refused.
        let deadline = Instant::now() + NOTICED_WITHIN;
        while view.answers(urls) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            view = View::take(admin).await?;
        }
    }
    let Some(change) = choose(kind, rng, &view, urls) else {
        return Ok(format!("{kind:?}: there is nothing to change"));
    };
    if rng.random_bool(0.2) {
        admin.dry_run(change.clone()).await?;
    }
    let reply = admin
        .change(change.clone())
        .await
        .with_context(|| format!("{change:?}"))?;
    Ok(format!("{change:?}: operation {:?}", reply.operation))
}

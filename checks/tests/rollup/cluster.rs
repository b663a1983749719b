//! A cluster, a scheduler and two executors as processes of their own, comes to the bytes of one machine; killed
//! halfway, it comes to them too, or to an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use archiver::SealError;
use archiver::computing::Computing;
use archiver::rollup::{Rolled, Rolling};
use checks::bin_path::tally;
use checks::forge::Archive;
use checks::service::free_address;
use ledger::rollup::Definition;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use verifier::rollup::cluster::{Cluster, ClusterSettings, Link};
use verifier::rollup::{Engine, RollupError, definitions};

use super::figures::days;
use super::world::{World, at, text};

/// A process that is killed where nobody waits for it any more.
struct Node(Child);

impl Node {
    /// With what is temporary in a directory of the test: a node that is killed leaves it behind.
    fn start(temporary: &Path, arguments: &[&str], more: &[String]) -> Self {
        let child = Command::new(tally("tally-cluster"))
            .env("TMPDIR", temporary)
            .args(arguments)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to end, and gives its exit code.
    fn end(&mut self) -> Option<i32> {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(told.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Nodes {
    scheduler: Node,
    address: SocketAddr,
    executors: Vec<(Node, PathBuf)>,
    link: Link,
    tls: Vec<String>,
    directory: TempDir,
}

impl Nodes {
    async fn start(archive: &Path) -> Self {
        Self::start_by(archive, Link::Loopback, Vec::new()).await
    }

    async fn start_by(archive: &Path, link: Link, tls: Vec<String>) -> Self {
        let address = free_address().unwrap();
        let listen = ["scheduler", "--listen", &address.to_string(), "--executor-timeout", "10"];
        let directory = tempfile::tempdir().unwrap();
        let scheduler = Node::start(directory.path(), &listen, &tls);
        until("the scheduler listens", || std::net::TcpStream::connect(address).is_ok()).await;
        let mut nodes = Self { scheduler, address, executors: Vec::new(), link, tls, directory };
        nodes.add(archive).await;
        nodes.add(archive).await;
        nodes
    }

    /// One more executor, on one core.
    async fn add(&mut self, archive: &Path) {
        let listen = free_address().unwrap();
        let dir = self.directory.path().join(format!("executor-{}", self.executors.len()));
        let scheme = if self.tls.is_empty() { "http" } else { "https" };
        let url = format!("{scheme}://{}", self.address);
        let node = Node::start(
            self.directory.path(),
            &[
                "executor",
                "--scheduler",
                &url,
                "--archive",
                archive.to_str().unwrap(),
                "--listen",
                &listen.to_string(),
                "--cores",
                "1",
                "--dir",
                dir.to_str().unwrap(),
            ],
            &self.tls,
        );
        until("the executor listens", || std::net::TcpStream::connect(listen).is_ok()).await;
        self.executors.push((node, dir.join("facts")));
    }

    fn cluster(&self, deadline: u64, attempts: u32) -> Cluster {
        let settings = ClusterSettings {
            scheduler: (self.address.ip().to_string(), self.address.port()),
            deadline: Duration::from_secs(deadline),
            attempts,
            partitions: 2,
            link: self.link.clone(),
        };
        Cluster::new(settings).unwrap()
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn files(directory: &Path) -> usize {
    directory.read_dir().map_or(0, Iterator::count)
}

/// Two of them, the one with the deepest plan among them, where it is not about what is computed.
fn two() -> Vec<Definition> {
    let chosen = ["agent_health_daily", "llm_daily"];
    definitions().iter().filter(|known| chosen.contains(&known.name.as_str())).cloned().collect()
}

async fn roll_up(world: &World, cluster: &Cluster, rebuild: bool) -> Result<Rolled, SealError> {
    roll_up_by(&two(), world, cluster, rebuild).await
}

async fn roll_up_by(
    definitions: &[Definition],
    world: &World,
    cluster: &Cluster,
    rebuild: bool,
) -> Result<Rolled, SealError> {
    let spill = tempfile::tempdir().unwrap();
    let engine = Engine::new(64 << 20, 2, spill.path());
    let computing = Computing::on(cluster, &engine, world.facts.path().to_owned());
    let rolling = Rolling { definitions, workspace: None, rebuild, computing };
    world.roll_up_as(&rolling).await
}

/// One machine computes all of it again, and comes to the same bytes.
async fn assert_same_here(definitions: &[Definition], world: &World, days: usize) {
    let before = Archive::load(&world.archive()).unwrap();
    let again = world.roll_up_by(definitions, 2, true, &()).await.unwrap();
    assert!(again.days.is_empty(), "{:?}", again.days);
    assert_eq!(again.current, u64::try_from(days).unwrap());
    assert!(Archive::load(&world.archive()).unwrap() == before);
    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_50_a_cluster_comes_to_the_bytes_of_one_machine() {
    let mut world = days().await;
    let mut nodes = Nodes::start(&world.archive()).await;
    let cluster = nodes.cluster(60, 3);
    let rolled = roll_up_by(definitions(), &world, &cluster, false).await.unwrap();
    assert!(rolled.days.len() > 40, "{rolled:?}");
    assert!(rolled.chunks > 0 && cluster.retries() == 0, "{rolled:?}");
    for (_, facts) in &nodes.executors {
        assert!(files(facts) > 0, "each executor has read some chunk");
    }
    // Of what comes later too, and by nodes that begin anew.
    world.clock.reach(at(50));
    world.work(5, at(-24)).await;
    world.seal(at(52)).await;
    let later = roll_up_by(definitions(), &world, &cluster, false).await.unwrap();
    assert!(later.days.iter().any(|day| day.revision == 1), "{later:?}");
    assert_same_here(definitions(), &world, rolled.days.len() + new_days(&rolled, &later)).await;
    // And what one machine has computed, a cluster computes again.
    let again = roll_up(&world, &cluster, true).await.unwrap();
    assert!(again.days.is_empty(), "{:?}", again.days);
    // By the command, too.
    let url = format!("http://{}", nodes.address);
    let output = super::commands::archiver(
        &world,
        &["rollup", "--rebuild", "--name", "tool_reliability_hourly", "--scheduler", &url],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("nothing to roll up"), "{}", text(&output));

    for (executor, _) in &mut nodes.executors {
        assert_eq!(executor.end(), Some(0));
    }
    assert_eq!(nodes.scheduler.end(), Some(0));
}

/// Days of the second run that the first had not.
fn new_days(first: &Rolled, second: &Rolled) -> usize {
    let name =
        |day: &archiver::rollup::RolledDay| (day.name.clone(), day.workspace.clone(), day.day);
    let known: Vec<_> = first.days.iter().map(name).collect();
    second.days.iter().filter(|day| !known.contains(&name(day))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_50_an_executor_that_is_killed_halfway_makes_no_figure_wrong() {
    let world = days().await;
    let mut nodes = Nodes::start(&world.archive()).await;
    let cluster = nodes.cluster(60, 5);
    let (mut victim, facts) = nodes.executors.remove(0);
    let kill = tokio::task::spawn_blocking(move || {
        // As soon as it has begun to work.
        let began = Instant::now();
        while files(&facts) == 0 && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        victim.kill();
    });
    let rolled = roll_up(&world, &cluster, false).await.unwrap();
    kill.await.unwrap();
    assert!(rolled.days.len() > 10, "{rolled:?}");
    assert_same_here(&two(), &world, rolled.days.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_executors_is_given_up_and_nothing_is_written() {
    let world = days().await;
    let mut nodes = Nodes::start(&world.archive()).await;
    for (executor, _) in &mut nodes.executors {
        executor.kill();
    }
    let before = Archive::load(&world.archive()).unwrap();
    let cluster = nodes.cluster(3, 2);
    let given_up = roll_up(&world, &cluster, false).await;
    let Err(SealError::Rollup(RollupError::Cluster { attempts: 2, .. })) = &given_up else {
        panic!("{given_up:?}");
    };
    assert_eq!(cluster.retries(), 1);
    assert!(Archive::load(&world.archive()).unwrap() == before);
    // With one that has come back, the next run does it all.
    nodes.add(&world.archive()).await;
    let rolled = roll_up(&world, &nodes.cluster(60, 3), false).await.unwrap();
    assert_same_here(&two(), &world, rolled.days.len()).await;
    // Without a scheduler it is told at once.
    nodes.scheduler.kill();
    let gone = roll_up(&world, &nodes.cluster(3, 1), true).await;
    assert!(matches!(gone, Err(SealError::Rollup(RollupError::Cluster { .. }))), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_51_an_executor_refuses_a_chunk_that_is_not_as_sealed() {
    let world = days().await;
    let archive = Archive::load(&world.archive()).unwrap();
    let key = archive.keys().find(|key| key.starts_with("events/workspace=acme")).unwrap();
    let path = world.archive().join(key);
    let mut object = std::fs::read(&path).unwrap();
    let middle = object.len() / 2;
    object[middle] ^= 1;
    std::fs::write(&path, &object).unwrap();
    let nodes = Nodes::start(&world.archive()).await;
    let refused = roll_up(&world, &nodes.cluster(60, 3), false).await.unwrap_err();
    assert_eq!(refused.code(), 4, "{refused}");
    assert!(refused.to_string().contains(key), "{refused}");
    // One that is gone, likewise.
    std::fs::remove_file(&path).unwrap();
    let refused = roll_up(&world, &nodes.cluster(60, 3), false).await.unwrap_err();
    assert_eq!(refused.code(), 4, "{refused}");
    assert!(refused.to_string().contains(key), "{refused}");
}

/// Facts that an executor's own disk holds are not what was sealed: this machine computes otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_comes_to_other_figures_is_found_out() {
    let world = days().await;
    let nodes = Nodes::start(&world.archive()).await;
    let first = roll_up(&world, &nodes.cluster(60, 3), false).await.unwrap();
    assert!(!first.days.is_empty());
    for (_, facts) in &nodes.executors {
        super::doctored::doctor(facts);
    }
    let before = Archive::load(&world.archive()).unwrap();
    let differs = roll_up(&world, &nodes.cluster(60, 3), true).await;
    assert!(
        matches!(differs, Err(SealError::Rollup(RollupError::ClusterDiffers { .. }))),
        "{differs:?}"
    );
    assert!(Archive::load(&world.archive()).unwrap() == before);
}

/// Which days a chunk holds is remembered, and decides what is computed from it: that answer is compared, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_finds_other_days_in_a_chunk_is_found_out() {
    let world = days().await;
    let nodes = Nodes::start(&world.archive()).await;
    let first = roll_up(&world, &nodes.cluster(60, 3), false).await.unwrap();
    assert!(!first.days.is_empty());
    for (_, facts) in &nodes.executors {
        let later = |at| at + ledger::time::HOUR * 24;
        super::doctored::change(facts, "occurred_us", later, |day| day + 1);
    }
    sqlx::query("DELETE FROM chunk_days").execute(&world.rig.pool).await.unwrap();
    let differs = roll_up(&world, &nodes.cluster(60, 3), false).await;
    let Err(SealError::Rollup(RollupError::ClusterDiffers { what, .. })) = &differs else {
        panic!("{differs:?}");
    };
    assert!(what.starts_with("the days of events/"), "{what}");
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM chunk_days")
        .fetch_one(&world.rig.pool)
        .await
        .unwrap();
    assert_eq!(kept, 0, "nothing of it is remembered");
}

/// An authority, and what it has signed for this machine, as files.
fn certificates(directory: &Path) -> (Link, Vec<String>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let files = [
        ("authority", authority.pem()),
        ("certificate", certificate.pem()),
        ("key", key.serialize_pem()),
    ];
    let mut arguments = Vec::new();
    for (name, pem) in &files {
        let path = directory.join(name);
        std::fs::write(&path, pem).unwrap();
        arguments.extend([format!("--tls-{name}"), path.display().to_string()]);
    }
    let [authority, certificate, key] = files.map(|(_, pem)| pem.into_bytes());
    (Link::Tls(verifier::rollup::cluster::Tls { authority, certificate, key }), arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn by_certificates_alone() {
    let world = days().await;
    let directory = tempfile::tempdir().unwrap();
    let (link, arguments) = certificates(directory.path());
    let nodes = Nodes::start_by(&world.archive(), link, arguments).await;
    let rolled = roll_up(&world, &nodes.cluster(60, 3), false).await.unwrap();
    assert!(rolled.days.len() > 10);
    assert_same_here(&two(), &world, rolled.days.len()).await;
    // Without one, or with that of another authority, nobody is heard.
    let elsewhere = tempfile::tempdir().unwrap();
    for link in [Link::Loopback, certificates(elsewhere.path()).0] {
        let stranger = Nodes { link, ..nodes_of(&nodes) }.cluster(5, 1);
        let refused = roll_up(&world, &stranger, true).await;
        assert!(
            matches!(refused, Err(SealError::Rollup(RollupError::Cluster { .. }))),
            "{refused:?}"
        );
    }
}

/// The same scheduler, for somebody else.
fn nodes_of(nodes: &Nodes) -> Nodes {
    Nodes {
        scheduler: Node(Command::new("true").spawn().unwrap()),
        address: nodes.address,
        executors: Vec::new(),
        link: Link::Loopback,
        tls: Vec::new(),
        directory: tempfile::tempdir().unwrap(),
    }
}

#[test]
fn what_a_cluster_is_told_wrong_is_refused_at_once() {
    for (arguments, code, why) in [
        (&["scheduler", "--listen", "0.0.0.0:50050"][..], 2, "is not on the loopback"),
        (
            &["executor", "--scheduler", "http://10.0.0.1:50050", "--archive", "."],
            2,
            "is not on the loopback",
        ),
        (&["executor", "--scheduler", "somewhere", "--archive", "."], 2, "an address like http"),
        (
            &["executor", "--scheduler", "https://127.0.0.1:1", "--archive", "."],
            2,
            "takes --tls-authority",
        ),
        (
            &["executor", "--scheduler", "http://127.0.0.1:1", "--archive", "nowhere"],
            3,
            "there is no directory `nowhere`",
        ),
        (&["scheduler", "--tls-key", "key.pem"], 2, "--tls-authority"),
    ] {
        let output = Command::new(tally("tally-cluster")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(why), "{arguments:?}: {}", text(&output));
    }
}

//! The network to Postgres breaks and falls silent; processes die beside it (FAULTS rows 1, 4 and 5
//! together).

use std::time::Duration;

use checks::crowd::{Crowd, long, now};
use checks::proxy::Proxy;
use checks::service::{base, free_address};
use tokio::task::JoinSet;

use crate::{ask, print, process};

/// How long a silence of the network may be felt after its end.
const RECOVERS: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_is_cut_under_load() {
    let cuts = if long() { 300 } else { 25 };
    let mut crowd = Crowd::new().await;
    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let service = crowd.serve(&proxy.url(&crowd.rig.postgres.url())).await;
    let base = format!("http://{}", service.local_addr());
    let workers = crowd.open(&base, 4, 4).await;
    let shift = crowd.work(&base, workers, 20);
    for _ in 0..cuts {
        shift.more(5).await;
        proxy.cut();
    }
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "every request was answered");
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    let refused = told.refused;
    print(&format!("network: {cuts} cuts under load, {refused} times told 503, {figures}"));
}

/// Packets vanish, and no connection breaks: as where a switch dies, or a database host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_falls_silent_under_load() {
    let mut crowd = Crowd::new().await;
    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let service = crowd.serve(&proxy.url(&crowd.rig.postgres.url())).await;
    let base = format!("http://{}", service.local_addr());
    let workers = crowd.open(&base, 4, 4).await;
    let shift = crowd.work(&base, workers, 10);
    shift.more(50).await;
    proxy.fall_silent();
    // Readiness is told, and told in time: an orchestrator does not wait for ever.
    let ready = tokio::time::timeout(Duration::from_secs(20), ask(&base, "/readyz")).await;
    assert_eq!(ready.unwrap(), (503, "not-ready".to_owned()));
    assert_eq!(ask(&base, "/healthz").await.0, 200);
    proxy.speak_again();
    let resumed = shift.more(1).await;
    assert!(resumed < RECOVERS, "intake resumes after {resumed:?}");
    shift.more(50).await;
    assert_eq!(ask(&base, "/readyz").await.0, 200);
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "every request was answered");
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "network: silent under load, readiness told it, intake resumed {} ms after the end, {} \
         times told 503, {figures}",
        resumed.as_millis(),
        told.refused
    ));
}

/// It falls silent while keys are looked for that the service does not know: those who wait are answered,
/// and whoever comes after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_falls_silent_while_keys_are_looked_for() {
    let mut crowd = Crowd::new().await;
    let url = crowd.rig.postgres.url();
    let registrar = crowd.serve(&url).await;
    let base = format!("http://{}", registrar.local_addr());
    let mut agents = crowd.open(&base, 1, 6).await;
    registrar.shutdown().await;

    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let service = crowd.serve(&proxy.url(&url)).await;
    let base = format!("http://{}", service.local_addr());
    let mut locked = crowd.rig.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE keys IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    // One for each connection on which keys are looked for.
    let mut looking = JoinSet::new();
    for mut agent in agents.split_off(4) {
        let desk = crowd.desk(&base);
        looking.spawn(async move { desk.deliver(&agent.work(1, now())).await });
    }
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'keys'::regclass";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&crowd.rig.pool).await.unwrap() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.fall_silent();
    locked.rollback().await.unwrap();
    proxy.speak_again();
    let answered = tokio::time::timeout(RECOVERS, looking.join_all()).await;
    assert_eq!(answered.unwrap().len(), 2);
    // All connections that nobody uses fall silent.
    for agent in &mut agents {
        proxy.fall_silent();
        proxy.speak_again();
        let desk = crowd.desk(&base);
        let submission = agent.work(1, now());
        tokio::time::timeout(RECOVERS, desk.deliver(&submission)).await.unwrap();
    }
    service.shutdown().await;
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
}

/// Two processes on one database; each is killed again and again, and so is the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_die_in_turn_and_their_database_with_them() {
    let rounds = if long() { 60 } else { 8 };
    let mut crowd = Crowd::new().await;
    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let url = proxy.url(&crowd.rig.postgres.url());
    let addresses = [free_address().unwrap(), free_address().unwrap()];
    let [here, there] = addresses.map(base);
    let mut processes = Vec::new();
    for address in addresses {
        processes.push(process(&crowd, &url, address).await);
    }
    // Both work in the same workspaces.
    let workers = crowd.open(&here, 4, 6).await;
    let (evens, odds): (Vec<_>, Vec<_>) =
        workers.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    let only = |some: Vec<(usize, _)>| some.into_iter().map(|(_, worker)| worker).collect();
    let mut shift = crowd.work(&here, only(evens), 20);
    crowd.join(&mut shift, &there, only(odds), 20);
    for round in 0..rounds {
        shift.more(30).await;
        let at = round % 2;
        processes.remove(at).kill().await.unwrap();
        match round % 4 {
            1 => proxy.cut(),
            3 => {
                crowd.rig.postgres.kill_9().unwrap();
                crowd.rig.postgres.start_again().unwrap();
            }
            _ => {}
        }
        shift.more(5).await;
        let address = addresses.into_iter().nth(at).unwrap();
        processes.insert(at, process(&crowd, &url, address).await);
    }
    let told = shift.end().await;
    for process in processes {
        process.stop().await.unwrap();
    }
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "two processes: {rounds} kills of one or the other under load, {} of Postgres, {} times \
         told 503, {} connections broke, {figures}",
        rounds / 4,
        told.refused,
        told.broken
    ));
}

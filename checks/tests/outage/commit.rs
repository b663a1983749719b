//! The connection is cut at the COMMIT: nobody knows what came of it (FAULTS row 6).

use checks::crowd::Crowd;
use checks::proxy::Proxy;

use crate::print;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_6_the_outcome_of_a_commit_is_unknown() {
    let goal = 1_000;
    let mut crowd = Crowd::new().await;
    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let service = crowd.serve(&proxy.url(&crowd.rig.postgres.url())).await;
    let base = format!("http://{}", service.local_addr());
    let workers = crowd.open(&base, 8, 2).await;
    let shift = crowd.work(&base, workers, 3);
    proxy.cut_commits(Some(3), 6);
    let (mut unsent, mut unanswered) = (0, 0);
    while unsent + unanswered < goal {
        shift.more(1).await;
        (unsent, unanswered) = proxy.commits_cut();
    }
    proxy.cut_commits(None, 0);
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "a client is told 503, or gets its receipt");
    assert!(unsent > goal / 4 && unanswered > goal / 4, "{unsent} and {unanswered}");
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "2.1 row 6: {unsent} connections cut before the COMMIT, {unanswered} between COMMIT and \
         answer; clients got the receipt, or {} times 503; {figures}",
        told.refused
    ));
}

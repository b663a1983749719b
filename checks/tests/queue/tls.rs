//! TLS to Redis: whoever the machine trusts, or `SSL_CERT_FILE` names, and nobody else.

use std::path::Path;

use checks::bin_path::tally;
use checks::crowd::Crowd;
use checks::redis::{DURABLE, Redis};
use checks::service::free_address;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::process::Command;

/// Writes an authority, and a certificate by it for this machine, with its key.
fn issue(directory: &Path) -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let files = [
        ("ca.pem", authority.pem()),
        ("redis.pem", certificate.pem()),
        ("redis.key", key.serialize_pem()),
    ];
    files.map(|(name, text)| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_spoken_to_over_tls_where_its_authority_is_trusted() {
    let crowd = Crowd::new().await;
    let [ca, certificate, key] = issue(&crowd.rig.directory);
    let address = free_address().unwrap();
    let port = address.port().to_string();
    let tls = [
        ["--tls-port", &port],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-ca-cert-file", &ca],
        ["--tls-auth-clients", "no"],
    ];
    let settings = [&DURABLE[..], tls.as_flattened()].concat();
    let _redis = Redis::start_with(&crowd.rig.directory, &settings).await.unwrap();
    // Asks the server first, and then the database, which has never heard of the partition.
    let ask = async |trusted: Option<&str>| {
        let mut command = Command::new(tally("tally-ingest"));
        command.args(["queue", "move", "--partition", "0", "--to-beginning", "--reason", "a test"]);
        command.args(["--queue-kind", "redis", "--database-url", &crowd.rig.postgres.url()]);
        command.args(["--queue-servers", &format!("rediss://{address}")]);
        if let Some(trusted) = trusted {
            command.env("SSL_CERT_FILE", trusted);
        }
        let output = command.output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = ask(Some(&ca)).await;
    assert!(told.contains("was never claimed"), "it was asked: {code:?} {told}");
    let (code, told) = ask(None).await;
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("certificate"), "{told}");
}

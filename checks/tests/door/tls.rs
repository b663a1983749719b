//! TLS: served by settings, trusted by `--ca`, renewed on SIGHUP, and asked for where others listen.

use std::process::Output;

use checks::bin_path::tally;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::tls::Version;
use tokio::process::Command;

use crate::world::{Reply, Served, Site, client};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Puts a certificate and its key where the settings look for them.
fn issue(site: &Site, authority: &Authority) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
    let certificate = params.unwrap().signed_by(&key, authority).unwrap();
    site.private("tls.pem", certificate.pem().as_bytes());
    site.private("tls.key", key.serialize_pem().as_bytes());
}

fn settings(site: &Site) -> String {
    let (certificate, key) = (site.path("tls.pem"), site.path("tls.key"));
    format!("[ingest.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
}

async fn command(arguments: &[&str], token: &str) -> Output {
    let mut command = Command::new(tally("tally-ingest"));
    command.args(arguments).env("TALLY_ADMIN_TOKEN", token);
    command.output().await.unwrap()
}

async fn is_healthy(served: &Served, ca: Option<&std::path::Path>) -> bool {
    let health = client(ca).get(format!("{}/healthz", served.base));
    matches!(Reply::try_of(health).await, Ok(reply) if reply.status == 200)
}

#[tokio::test]
async fn a_client_that_knows_the_authority_speaks_tls_and_nobody_else_does() {
    let site = Site::new().await;
    let (old, new) = (authority(), authority());
    issue(&site, &old);
    let (ca, other) = (
        site.private("ca.pem", old.pem().as_bytes()),
        site.private("new-ca.pem", new.pem().as_bytes()),
    );
    let served = site.serve(&settings(&site)).await;
    assert!(served.base.starts_with("https://127.0.0.1:"), "{}", served.base);
    assert!(is_healthy(&served, Some(&ca)).await);
    assert!(!is_healthy(&served, None).await);
    assert!(!is_healthy(&served, Some(&other)).await);
    let pem = reqwest::Certificate::from_pem(old.pem().as_bytes()).unwrap();
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let client = reqwest::Client::builder().no_proxy().add_root_certificate(pem.clone());
        let client = client.min_tls_version(version).max_tls_version(version).build().unwrap();
        let reply = Reply::of(client.get(format!("{}/healthz", served.base))).await;
        assert_eq!(reply.status, 200, "{version:?}");
    }
    // Plain HTTP gets no answer.
    let plain = format!("{}/healthz", served.base.replace("https", "http"));
    assert!(Reply::try_of(client(None).get(plain)).await.is_err());

    // The commands of the client, with --ca and without.
    let key = site.path("root.pem").display().to_string();
    assert!(command(&["keygen", "--out", &key], "").await.status.success());
    let create = ["workspace", "create", "acme", "--url", &served.base, "--key", &key];
    let with_ca = [&create[..], &["--ca", ca.to_str().unwrap()]].concat();
    let done = command(&with_ca, served.admin_token()).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let without = [&create[..], &["--give-up-after", "0"]].concat();
    assert_eq!(command(&without, served.admin_token()).await.status.code(), Some(3));
    let no_pem = [&create[..], &["--ca", &key]].concat();
    assert_eq!(command(&no_pem, served.admin_token()).await.status.code(), Some(2));

    // A certificate that is of no use does not take the place of the one in use; a good one does.
    site.private("tls.pem", b"no certificate");
    served.signal("HUP").await;
    until(|| site.log().contains("the certificate in use stays")).await;
    assert!(is_healthy(&served, Some(&ca)).await);
    issue(&site, &new);
    served.signal("HUP").await;
    until(|| site.log().contains("certificate read again")).await;
    assert!(is_healthy(&served, Some(&other)).await);
    assert!(!is_healthy(&served, Some(&ca)).await);
    served.stop().await;
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn plain_http_and_an_open_key_are_refused_before_anything_listens() {
    let site = Site::new().await;
    issue(&site, &authority());
    let tls = settings(&site);
    let serve = async |more: &str| {
        let path = site.settings(more);
        let output = command(&["serve", "--config", path.to_str().unwrap()], "").await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = serve("listen = \"0.0.0.0:0\"\n").await;
    assert!(code == Some(2) && text.contains("allow_plain_http"), "{text}");
    let half = tls.lines().take(2).collect::<Vec<_>>().join("\n");
    let (code, text) = serve(&half).await;
    assert!(code == Some(2) && text.contains("both `certificate` and `key`"), "{text}");
    let key = site.path("tls.key");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, mode).unwrap();
    let (code, text) = serve(&tls).await;
    assert!(code == Some(2) && text.contains("mode 644"), "{text}");
    // A key that is another certificate's.
    site.private("tls.key", KeyPair::generate().unwrap().serialize_pem().as_bytes());
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (code, text) = serve(&tls).await;
    assert!(code == Some(2) && text.contains("tls.pem"), "{text}");

    // Behind a proxy it may be plain.
    let served = site.serve("listen = \"0.0.0.0:0\"\nallow_plain_http = true\n").await;
    let port = served.base.rsplit(':').next().unwrap().to_owned();
    let health = client(None).get(format!("http://127.0.0.1:{port}/healthz"));
    assert_eq!(Reply::of(health).await.status, 200);
    served.stop().await;
}

//! Postgres over TLS, by the URL alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::raw_sql;

use crate::world::{World, serve};

/// An authority, and a certificate for `localhost` and 127.0.0.1 that it signed: PEM each.
fn certificates() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    (authority.pem(), server.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_checks_the_databases_certificate_where_the_url_says_so() {
    let mut world = World::new().await;
    world.stop().await;
    let (authority, certificate, key) = certificates();
    let (other, ..) = certificates();
    let path = |name: &str| world.rig.directory.join(name);
    fs::write(path("ca.pem"), authority).unwrap();
    fs::write(path("other-ca.pem"), other).unwrap();
    // The server reads its own from a directory that is its own.
    let server = tempfile::tempdir().unwrap();
    for (name, text) in [("server.pem", certificate), ("server.key", key)] {
        let file = server.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        world.rig.postgres.give(&file).unwrap();
    }
    world.rig.postgres.give(server.path()).unwrap();
    for (setting, value) in [
        ("ssl_cert_file", server.path().join("server.pem").display().to_string()),
        ("ssl_key_file", server.path().join("server.key").display().to_string()),
        ("ssl", "on".to_owned()),
    ] {
        let sql = format!("ALTER SYSTEM SET {setting} = '{value}'");
        raw_sql(sqlx::AssertSqlSafe(sql)).execute(&world.rig.pool).await.unwrap();
    }
    world.rig.postgres.stop_immediate().unwrap();
    world.rig.postgres.start_again().unwrap();

    let by = |mode: &str, ca: &str| {
        let ca = path(ca);
        format!("{}?sslmode={mode}&sslrootcert={}", world.rig.postgres.url(), ca.display())
    };
    let origin = world.rig.origin.clone();
    let url = by("verify-full", "ca.pem");
    ingest::store::check_login(&url, &origin, true).await.unwrap();
    let wrong = ingest::store::check_login(&by("verify-full", "other-ca.pem"), &origin, true).await;
    assert!(wrong.is_err(), "an authority that did not sign the server's certificate");

    let running = serve(world.rig.config(&url).unwrap(), &world.clock).await;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                     WHERE a.application_name = 'tally-ingest' AND NOT s.ssl";
    world.base = checks::service::base(running.local_addr());
    world.running = Some(running);
    let (_, token) = world.token("acme").await;
    assert_eq!(world.get("/v1/workspaces/acme/head", &token).await.status, 200);
    assert_eq!(world.count(encrypted).await, 0, "no connection of the service is in the clear");
    world.stop().await;
}

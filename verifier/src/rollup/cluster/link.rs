//! How nodes speak to each other: plainly on the loopback alone, elsewhere by TLS in which both sides show a
//! certificate.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::EndpointOverrideFn;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

/// How long the other side may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A link that is not let be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Plain, and not on the loopback.
    #[error(
        "{0} is not on the loopback: whoever can speak to the nodes of a cluster can make figures wrong, so give a \
         certificate, its key and the authority that signs those of all nodes"
    )]
    Plain(String),
    /// The certificate, its key or the authority cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
}

/// What a node shows, and whom it lets speak, in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The authority that has signed the certificates of all nodes.
    pub authority: Vec<u8>,
    /// The certificate of this node, for its host.
    pub certificate: Vec<u8>,
    /// The key of that certificate.
    pub key: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// How nodes speak.
#[derive(Clone, Debug, Default)]
pub enum Link {
    /// Plainly, on the loopback.
    #[default]
    Loopback,
    /// By TLS, each side with a certificate of one authority.
    Tls(Tls),
}

impl Link {
    /// Whether nodes may speak to this host so.
    pub fn check(&self, host: &str) -> Result<(), LinkError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let local = bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        match self {
            Self::Loopback if !local => Err(LinkError::Plain(host.to_owned())),
            Self::Loopback | Self::Tls(_) => Ok(()),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }

    /// What makes a connection of this kind of any other.
    pub(super) fn endpoint(&self) -> Option<EndpointOverrideFn> {
        let Self::Tls(tls) = self else { return None };
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&tls.authority))
            .identity(Identity::from_pem(&tls.certificate, &tls.key));
        Some(Arc::new(move |endpoint: Endpoint| {
            let uri = endpoint.uri();
            let authority = uri.authority().ok_or("no host")?;
            let secured = Endpoint::from_shared(format!("https://{authority}"))?
                .connect_timeout(CONNECT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_while_idle(true)
                .tls_config(config.clone())?;
            Ok::<_, Box<dyn Error + Send + Sync>>(secured)
        }))
    }

    /// A server that takes connections of this kind.
    pub(super) fn server(&self) -> Result<Server, LinkError> {
        let server = Server::builder().tcp_nodelay(true).http2_keepalive_interval(Some(KEEP_ALIVE));
        let Self::Tls(tls) = self else { return Ok(server) };
        let config = ServerTlsConfig::new()
            .identity(Identity::from_pem(&tls.certificate, &tls.key))
            .client_ca_root(Certificate::from_pem(&tls.authority));
        server.tls_config(config).map_err(|error| LinkError::Tls(chain(&error)))
    }
}

/// An error with what caused it.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_links_stay_on_the_loopback() {
        for host in ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"] {
            assert!(Link::Loopback.check(host).is_ok(), "{host}");
        }
        for host in ["10.0.0.1", "0.0.0.0", "::", "example.org", "localhost.example.org", ""] {
            assert!(Link::Loopback.check(host).is_err(), "{host}");
        }
    }
}

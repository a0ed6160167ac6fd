//! Posts to webhooks, over HTTP or HTTPS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::Webhook;
use super::reach::Reach;
use crate::config::WebhooksConfig;

/// How long one request may take.
const CALL: Duration = Duration::from_secs(5);

/// Posts to webhooks. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Poster {
    agent: ureq::Agent,
}

impl Poster {
    /// A poster that trusts the certificates of this machine and those of the configuration.
    ///
    /// # Errors
    /// When the configured certificates cannot be read.
    pub(super) fn new(config: &WebhooksConfig) -> anyhow::Result<Self> {
        let reach = Reach::new(&config.allowed_networks);
        // No redirects and no proxies: what authorizes a request is for the configured address alone.
        let agent = ureq::AgentBuilder::new()
            .redirects(0)
            .try_proxy_from_env(false)
            .timeout(CALL)
            .resolver(move |place: &str| reach.resolve(place))
            .tls_config(Arc::new(tls(config.ca_file.as_deref())?))
            .build();
        Ok(Self { agent })
    }

    /// Posts gzipped NDJSON.
    ///
    /// # Errors
    /// Why it was not taken, without the URL, which may hold a secret.
    pub(super) async fn post(&self, webhook: &Webhook, body: Bytes) -> Result<(), String> {
        let mut request = self
            .agent
            .post(&webhook.url)
            .set("content-encoding", "gzip")
            .set("content-type", "application/x-ndjson");
        for (name, value) in &webhook.headers {
            request = request.set(name, value);
        }
        let sending = tokio::task::spawn_blocking(move || match request.send_bytes(&body) {
            Ok(answer) => Ok(answer.status()),
            Err(ureq::Error::Status(status, _)) => Ok(status),
            Err(ureq::Error::Transport(error)) => Err(reason(&error)),
        });
        match sending.await {
            Ok(Ok(200..300)) => Ok(()),
            Ok(Ok(status)) => Err(format!("it answered {status}")),
            Ok(Err(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What went wrong on the way, without the URL.
fn reason(error: &ureq::Transport) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    let detail = source.or_else(|| error.message().map(str::to_owned));
    match detail {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn tls(ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // A certificate that this machine has and rustls does not understand helps nobody; others do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in ca_file.map(certificates).transpose()?.unwrap_or_default() {
        roots.add(certificate).context("webhooks.ca_file")?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates of a PEM file.
///
/// # Errors
/// When the file cannot be read, is no PEM, or has none.
pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "{} has no certificate", path.display());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    fn config(allowed: &str, ca_file: Option<&Path>) -> WebhooksConfig {
        WebhooksConfig {
            allowed_networks: vec![allowed.parse().expect("a network")],
            ca_file: ca_file.map(Path::to_owned),
        }
    }

    /// Takes connections over TLS until one brings a whole request, which is handed out and answered with 200.
    fn serve(listener: TcpListener, tls: ServerConfig) -> std::thread::JoinHandle<String> {
        let tls = Arc::new(tls);
        std::thread::spawn(move || {
            loop {
                let (stream, _) = listener.accept().expect("a connection");
                let connection = ServerConnection::new(Arc::clone(&tls)).expect("a connection");
                let mut stream = StreamOwned::new(connection, stream);
                let mut request = Vec::new();
                let mut chunk = [0; 1024];
                while !request.ends_with(b"body") {
                    match stream.read(&mut chunk) {
                        Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                        _ => break,
                    }
                }
                if request.ends_with(b"body") {
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer).expect("answered");
                    return String::from_utf8_lossy(&request).to_lowercase();
                }
            }
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn https_is_spoken_with_those_who_are_trusted() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let server = serve(listener, tls);
        let webhook = Webhook {
            url: format!("https://localhost:{port}/secret-path"),
            headers: [("Authorization".to_owned(), "Bearer x".to_owned())].into(),
        };
        let body = || Bytes::from_static(b"body");

        let stranger = Poster::new(&config("127.0.0.0/8", None)).expect("made");
        let why = stranger
            .post(&webhook, body())
            .await
            .expect_err("not trusted");
        assert!(!why.contains("secret-path"), "{why}");

        let dir = tempfile::tempdir().expect("a directory");
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, made.cert.pem()).expect("written");
        let elsewhere = Poster::new(&config("10.0.0.0/8", Some(&ca_file))).expect("made");
        let why = elsewhere.post(&webhook, body()).await.expect_err("private");
        assert!(why.contains("webhooks.allowed_networks"), "{why}");

        let poster = Poster::new(&config("127.0.0.0/8", Some(&ca_file))).expect("made");
        poster.post(&webhook, body()).await.expect("taken");
        let request = server.join().expect("served");
        for part in [
            "post /secret-path ",
            "authorization: bearer x",
            "content-encoding: gzip",
        ] {
            assert!(request.contains(part), "{request}");
        }
    }

    #[test]
    fn files_without_certificates_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("empty.pem");
        std::fs::write(&file, "nothing").expect("written");
        assert!(certificates(&file).is_err());
        assert!(certificates(&dir.path().join("absent.pem")).is_err());
    }
}

//! TLS toward PostgreSQL by rustls, always verified.

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;

/// Creates TLS sessions, or none.
#[derive(Clone)]
pub struct Tls(Option<Arc<ClientConfig>>);

impl Tls {
    /// For connections without TLS.
    pub fn off() -> Self {
        Self(None)
    }

    /// Trusts the system's certificates and those of a PEM file.
    ///
    /// # Errors
    /// When the file holds none, or TLS cannot be set up; in words.
    pub fn new(roots: Option<&Path>) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let mut certificates = Vec::new();
        if let Some(path) = roots {
            let failed = |error| format!("sslrootcert {}: {error}", path.display());
            let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
            certificates = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            if certificates.is_empty() {
                return Err(format!("sslrootcert {}: it contains no PEM certificate", path.display()));
            }
        }
        let verifier = Verifier::new_with_extra_roots(certificates, Arc::clone(&provider));
        let verifier = verifier.map_err(|error| format!("TLS could not be set up: {error}"))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS could not be set up: {error}"))?
            .dangerous()
            // The platform's verifier is set by hand only for the certificates that are trusted besides.
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self(Some(Arc::new(config))))
    }
}

/// Makes the session with one server.
pub struct Session {
    config: Option<Arc<ClientConfig>>,
    server: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Stream<S>;
    type TlsConnect = Session;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Session> {
        // Asked for sockets without TLS too, so the name is looked at only when a session begins.
        Ok(Session { config: self.0.clone(), server: host.to_owned() })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Session {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let config = self.config.ok_or_else(|| io::Error::other("TLS is off"))?;
            let server = ServerName::try_from(self.server).map_err(io::Error::other)?;
            TlsConnector::from(config).connect(server, stream).await.map(Stream)
        })
    }
}

/// An encrypted connection.
pub struct Stream<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        // The certificate is always verified, so channel binding would detect nothing more.
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

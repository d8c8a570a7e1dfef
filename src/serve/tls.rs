//! TLS of a listener. The handshake is part of the first read, so that the bounds of a connection hold for it, too.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor, server};

/// The certificate and key of a listener. When the files change, new connections get the new ones.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a chain of certificates and its key from PEM files.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn open(certificates: &Path, key: &Path) -> Result<Self, String> {
        let files = Files { certificates: certificates.to_owned(), key: key.to_owned() };
        let current = Mutex::new((files.modified(), files.read()?));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS could not be set up: {error}"))?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(Renewed { files, current }));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) fn accept(&self, stream: TcpStream) -> TlsStream {
        TlsStream::Handshake(Box::new(self.0.accept(stream)))
    }
}

#[derive(Debug)]
struct Files {
    certificates: PathBuf,
    key: PathBuf,
}

impl Files {
    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.certificates, &self.key].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, String> {
        let Self { certificates, key } = self;
        let of = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let chain = CertificateDer::pem_file_iter(certificates).map_err(|error| of(certificates, &error))?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| of(certificates, &error))?;
        if chain.is_empty() {
            return Err(of(certificates, &"it contains no PEM certificate"));
        }
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| of(key, &error))?;
        let certified = CertifiedKey::from_der(chain, secret, &ring::default_provider());
        certified.map(Arc::new).map_err(|error| of(key, &error))
    }
}

/// Gives each connection the certificate that the files hold at the time.
#[derive(Debug)]
struct Renewed {
    files: Files,
    current: Mutex<([Option<SystemTime>; 2], Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for Renewed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let modified = self.files.modified();
        if current.0 != modified {
            // Looked at again only when they change again: the two may be replaced one after the other.
            current.0 = modified;
            match self.files.read() {
                Ok(renewed) => current.1 = renewed,
                Err(error) => tracing::warn!("the new TLS certificate is not used, and the one before stays: {error}"),
            }
        }
        Some(current.1.clone())
    }
}

/// A connection that begins with a handshake.
pub(super) enum TlsStream {
    Handshake(Box<Accept<TcpStream>>),
    Open(Box<server::TlsStream<TcpStream>>),
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsStream")
    }
}

impl TlsStream {
    /// The socket itself; none once the handshake has failed.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Handshake(handshake) => handshake.get_ref(),
            Self::Open(stream) => Some(stream.get_ref().0),
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut server::TlsStream<TcpStream>>>> {
        if let Self::Handshake(handshake) = self {
            *self = Self::Open(Box::new(ready!(Pin::new(handshake).poll(cx))?));
        }
        match self {
            Self::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            Self::Handshake(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Open(stream) => Pin::new(stream).poll_shutdown(cx),
            // Nothing was said yet that would have to be ended.
            Self::Handshake(_) => Poll::Ready(Ok(())),
        }
    }
}

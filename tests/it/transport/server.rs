//! A listener on loopback that answers byte by byte as a test says, over TLS or not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use operator::api::secret::SecretText;
use operator::transport::{ClientPair, Dial};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the server does about one request, in order.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes this.
    Send(Vec<u8>),
    /// Writes this until nobody reads any more.
    Endless(Vec<u8>),
    /// Nothing more, and the connection stays.
    Hang,
    /// The connection ends with a reset.
    Reset,
    /// The connection ends.
    Close,
    /// From here on TLS is spoken: a proxy that has reached the other side.
    Tls(Arc<ServerConfig>),
}

/// A whole answer.
pub fn whole(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    vec![Step::Send(format!("{head}{body}").into_bytes())]
}

/// Certificates of one authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn dial(&self) -> Dial {
        Dial { roots: Some(self.pem.clone().into()), ..Dial::default() }
    }

    /// Certificate and key for a host, valid until the end of `year`.
    fn leaf(&self, host: &str, year: i32) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![host.to_string()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    pub fn pair(&self) -> ClientPair {
        let (certificate, key) = self.leaf("agent", 4000);
        ClientPair { certificate: certificate.pem().into(), key: SecretText::new(key.serialize_pem()) }
    }

    pub fn server(&self, host: &str, year: i32) -> Arc<ServerConfig> {
        self.config(host, year, None)
    }

    /// A server that asks for a certificate of ours.
    pub fn mutual(&self, host: &str) -> Arc<ServerConfig> {
        self.config(host, 4000, Some(&self.pem))
    }

    fn config(&self, host: &str, year: i32, clients: Option<&str>) -> Arc<ServerConfig> {
        let (certificate, key) = self.leaf(host, year);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions of this library");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                use rustls::pki_types::pem::PemObject;
                let mut roots = RootCertStore::empty();
                let root = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("our own PEM");
                roots.add(root).expect("our own root");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("our own key");
        builder.with_single_cert(vec![certificate.der().clone()], key).expect("they belong together").into()
    }
}

/// A running listener. It ends when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    seen: Seen,
    _tasks: JoinSet<()>,
}

type Seen = Arc<Mutex<Vec<String>>>;
type Play = Arc<dyn Fn(&str) -> Vec<Step> + Send + Sync>;

impl Server {
    /// Listens on a free port of loopback; `play` gets each request, head and body.
    pub async fn start(
        tls: Option<Arc<ServerConfig>>,
        play: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (seen, play): (Seen, Play) = (Seen::default(), Arc::new(play));
        let mut tasks = JoinSet::new();
        let requests = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, play, tls) = (Arc::clone(&requests), Arc::clone(&play), tls.clone());
                connections.spawn(async move { connection(stream, tls, &seen, &play).await });
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    /// Requests so far, head and body.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no test panics while it holds this").clone()
    }
}

async fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, seen: &Seen, play: &Play) {
    let (stream, config) = match tls {
        Some(config) => (stream, config),
        None => match serve(stream, seen, play).await {
            Some(tunnel) => tunnel,
            None => return,
        },
    };
    match TlsAcceptor::from(config).accept(stream).into_fallible().await {
        Ok(stream) => {
            serve(stream, seen, play).await;
        }
        Err((_, mut stream)) => {
            // Who closes with something unread resets, and the alert that says why is lost.
            let _ = stream.shutdown().await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    }
}

/// What a reset needs.
trait Socket: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Answers requests until a step ends that; gives the stream back where TLS begins on it.
async fn serve<S: Socket>(mut stream: S, seen: &Seen, play: &Play) -> Option<(S, Arc<ServerConfig>)> {
    while let Some(request) = request(&mut stream).await {
        seen.lock().expect("no test panics while it holds this").push(request.clone());
        for step in play(&request) {
            match step {
                Step::Send(bytes) => {
                    stream.write_all(&bytes).await.ok()?;
                    stream.flush().await.ok()?;
                }
                Step::Endless(bytes) => while stream.write_all(&bytes).await.is_ok() {},
                Step::Hang => std::future::pending().await,
                Step::Reset => {
                    stream.tcp().set_zero_linger().ok()?;
                    return None;
                }
                Step::Close => {
                    let _ = stream.shutdown().await;
                    return None;
                }
                Step::Tls(config) => return Some((stream, config)),
            }
        }
    }
    None
}

/// One request, head and body; `None` at the end of the connection.
async fn request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

//! The doors: gRPC (with gRPC-Web, CORS, health, reflection), HTTP, and the admin port.

mod door;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse as _, routing::get};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::health_reporter};
use tower_http::cors::{AllowOrigin, CorsLayer};

pub(crate) use door::Door;

use crate::{
    Error, Kind,
    audit::Trail,
    auth::{AuthLayer, Authenticator},
    config::{ListenConfig, ServerTls},
    db::Db,
    lifecycle::Lifecycle,
    limits::{HttpLimits, limit_http},
    telemetry::{SeeLayer, see_http},
    tls,
};

/// Where the doors are.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// gRPC, gRPC-Web, reflection, health.
    pub grpc: SocketAddr,
    /// Webhooks, chat, pages.
    pub http: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`.
    pub admin: SocketAddr,
}

/// Sockets, bound before any heavy work; or by whoever has to tell others the addresses before the start.
#[derive(Debug)]
pub struct Sockets {
    grpc: TcpListener,
    http: TcpListener,
    admin: TcpListener,
}

impl Sockets {
    /// Takes the configured addresses; port 0 finds a free one.
    ///
    /// # Errors
    /// Says which address is taken.
    pub async fn bind(config: &ListenConfig) -> Result<Self, Error> {
        let bind = |what: &'static str, address: SocketAddr| async move {
            TcpListener::bind(address).await.map_err(|e| {
                Error::new(
                    Kind::Precondition,
                    format!("listen.{what} {address}: {e}; is something else running there?"),
                )
            })
        };
        Ok(Self {
            grpc: bind("grpc", config.grpc).await?,
            http: bind("http", config.http).await?,
            admin: bind("admin", config.admin).await?,
        })
    }

    /// Where they are.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn addresses(&self) -> Result<Addresses, Error> {
        let local = |listener: &TcpListener| listener.local_addr().map_err(Error::internal);
        Ok(Addresses {
            grpc: local(&self.grpc)?,
            http: local(&self.http)?,
            admin: local(&self.admin)?,
        })
    }

    pub(crate) fn serve(self, doors: Doors, lifecycle: &Lifecycle) -> Result<(), Error> {
        let Doors {
            routes,
            http,
            authenticator,
            trail,
            limits,
            tls,
            cors_origins,
            databases,
        } = doors;
        let http_limits = limits.clone();
        let (health, health_service) = health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(trama_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(Error::internal)?;
        let grpc = tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .layer(cors(&cors_origins))
            .layer(SeeLayer)
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(AuthLayer::new(authenticator, trail, limits.limits.clone()))
            .add_routes(routes)
            .add_service(health_service)
            .add_service(reflection);
        let stopping = lifecycle.stopping();
        let incoming = Door::new(self.grpc, tls.grpc).connections();
        lifecycle.spawn("grpc", async move {
            grpc.serve_with_incoming_shutdown(incoming, stopping.cancelled_owned())
                .await
                .map_err(Error::internal)
        });

        let stopping = lifecycle.stopping();
        lifecycle.spawn("http", async move {
            let http = http
                .layer(axum::middleware::from_fn_with_state(http_limits, limit_http))
                .layer(axum::middleware::from_fn(see_http));
            axum::serve(Door::new(self.http, tls.http), http.into_make_service())
                .with_graceful_shutdown(stopping.cancelled_owned())
                .await
                .map_err(Error::internal)
        });

        let readiness = Arc::new(Readiness {
            databases,
            lifecycle: lifecycle.clone(),
        });
        let admin = Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/readyz", get(readyz))
            .route(
                "/metrics",
                get(|| async { crate::telemetry::metrics_handle().render() }),
            )
            .with_state(Arc::clone(&readiness));
        let stopping = lifecycle.stopping();
        lifecycle.spawn("admin", async move {
            axum::serve(self.admin, admin)
                .with_graceful_shutdown(stopping.cancelled_owned())
                .await
                .map_err(Error::internal)
        });

        let (draining, stopping) = (lifecycle.draining(), lifecycle.stopping());
        lifecycle.spawn("health", async move {
            loop {
                let ready = readiness.check().await.is_ok();
                let status = if ready {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                };
                health.set_service_status("", status).await;
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    () = draining.cancelled(), if !draining.is_cancelled() => {}
                    () = tokio::time::sleep(Duration::from_secs(5)) => {}
                }
            }
        });
        Ok(())
    }
}

/// TLS of the doors that have it. The admin door never does: kubelet and Prometheus ask there, from inside.
pub(crate) struct DoorsTls {
    grpc: Option<Arc<tls::Server>>,
    http: Option<Arc<tls::Server>>,
}

impl DoorsTls {
    /// Reads certificates, and keeps looking at them.
    pub(crate) fn open(config: &ListenConfig, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let open = |what, tls: &Option<ServerTls>, alpn| -> Result<_, Error> {
            let opened = tls.as_ref().map(|tls| tls::Server::of(tls, alpn)).transpose()?;
            if let Some(server) = &opened {
                server.watch(what, lifecycle);
            }
            Ok(opened)
        };
        Ok(Self {
            grpc: open("grpc", &config.grpc_tls, &[b"h2", b"http/1.1"])?,
            // Chat upgrades to WebSocket, which HTTP/2 does otherwise.
            http: open("http", &config.http_tls, &[b"http/1.1"])?,
        })
    }
}

/// What stands behind the doors.
pub(crate) struct Doors {
    pub routes: Routes,
    pub http: Router,
    pub authenticator: Authenticator,
    pub trail: Trail,
    pub limits: HttpLimits,
    pub tls: DoorsTls,
    pub cors_origins: Vec<String>,
    pub databases: Vec<Db>,
}

struct Readiness {
    databases: Vec<Db>,
    lifecycle: Lifecycle,
}

impl Readiness {
    async fn check(&self) -> Result<(), Error> {
        if self.lifecycle.draining().is_cancelled() {
            return Err(Error::new(Kind::Unavailable, "draining"));
        }
        for db in &self.databases {
            db.ping().await?;
        }
        let connected = self
            .databases
            .iter()
            .all(|db| db.bus().client().connection_state() == async_nats::connection::State::Connected);
        if connected {
            Ok(())
        } else {
            Err(Error::new(Kind::Unavailable, "NATS is not connected"))
        }
    }
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> axum::response::Response {
    match readiness.check().await {
        Ok(()) => (StatusCode::OK, "ok").into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

/// gRPC-Web from browsers. Deny by default: without configured origins no browser is let in.
fn cors(origins: &[String]) -> CorsLayer {
    let allowed = if origins.iter().any(|o| o == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|o| o.parse().ok()))
    };
    let names = |list: &'static [&'static str]| {
        list.iter()
            .map(|n| http::HeaderName::from_static(n))
            .collect::<Vec<_>>()
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([http::Method::POST])
        .allow_headers(names(&[
            "authorization",
            "content-type",
            "grpc-timeout",
            "x-grpc-web",
            "x-user-agent",
            "traceparent",
        ]))
        .expose_headers(names(&["grpc-status", "grpc-message", "grpc-status-details-bin"]))
}

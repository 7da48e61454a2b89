//! The contract of Trama: everything that two parts of the platform, or the platform and the world, agree on.
//!
//! - messages and services, generated from `trama/<service>/v1/*.proto`;
//! - [`events`]: every event, its subject, who publishes it and who listens;
//! - [`ids`]: a type for every id;
//! - [`resources`]: the kinds of `trama.dev/v1alpha1`.

pub mod events;
pub mod ids;
pub mod mutations;
pub mod readable;
pub mod resources;
pub mod subjects;
pub mod time;

macro_rules! package {
    ($(#[$doc:meta])* $name:ident, $proto:literal) => {
        $(#[$doc])*
        pub mod $name {
            /// Version 1.
            #[expect(clippy::all, reason = "generated code")]
            pub mod v1 {
                tonic::include_proto!($proto);
            }
        }
    };
}

package!(
    /// Words that every service shares.
    common, "trama.common.v1");
package!(
    /// The doors.
    ingest, "trama.ingest.v1");
package!(
    /// Who is this?
    identity_resolution, "trama.identity_resolution.v1");
package!(
    /// One need, one case.
    case, "trama.case.v1");
package!(
    /// The right hands.
    routing, "trama.routing.v1");
package!(
    /// Ask and learn.
    survey, "trama.survey.v1");
package!(
    /// Messages on their way out.
    notification, "trama.notification.v1");
package!(
    /// Who changed what.
    audit, "trama.audit.v1");
package!(
    /// What a person may demand.
    privacy, "trama.privacy.v1");

/// The encoded `FileDescriptorSet` of the contract, scope options included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Scope that each method requires, by path such as `/trama.case.v1.CaseService/GetCase`.
///
/// Read from the descriptors, so that a method without a scope is simply not in the map and cannot be called.
pub fn method_scopes() -> std::collections::HashMap<String, String> {
    let pool =
        prost_reflect::DescriptorPool::decode(DESCRIPTORS).expect("descriptors come from our own build");
    let scope = pool
        .get_extension_by_name("trama.options.v1.scope")
        .expect("options.proto declares the scope extension");
    let mut scopes = std::collections::HashMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let options = method.options();
            if let Some(value) = options.get_extension(&scope).as_str().filter(|s| !s.is_empty()) {
                scopes.insert(
                    format!("/{}/{}", service.full_name(), method.name()),
                    value.to_owned(),
                );
            }
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_method_declares_its_scope() {
        let pool = prost_reflect::DescriptorPool::decode(super::DESCRIPTORS).expect("descriptors decode");
        let scopes = super::method_scopes();
        for service in pool.services() {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                assert!(scopes.contains_key(&path), "{path} declares no scope");
            }
        }
        assert_eq!(scopes["/trama.case.v1.CaseService/GetCase"], "case.read");
    }
}

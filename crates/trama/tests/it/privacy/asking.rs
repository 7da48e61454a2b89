//! What is asked of the platform about a person.

use std::collections::BTreeMap;

use trama_proto::identity_resolution::v1::{
    self as wire, DownloadExportRequest, GetPrivacyRequestRequest, ListAccessRequest, PrivacyRequest,
    RequestErasureRequest, RequestExportRequest, person, privacy_service_client::PrivacyServiceClient,
    profile_service_client::ProfileServiceClient,
};

use super::world::{Person, World};

impl World {
    fn privacy(&self) -> PrivacyServiceClient<tonic::transport::Channel> {
        PrivacyServiceClient::new(self.app.grpc())
    }

    pub async fn request_export(&self, whose: &str, person: &Person, request_id: &str) -> String {
        let request = RequestExportRequest {
            person: Some(meant(person)),
            reason: "she asked for it".into(),
            request_id: request_id.into(),
        };
        let request = self.app.request(whose, "dora", request);
        let answer = self
            .privacy()
            .request_export(request)
            .await
            .expect("asked")
            .into_inner();
        answer.request.expect("a request").privacy_request_id
    }

    pub async fn try_erasure(
        &self,
        whose: &str,
        person: &Person,
        request_id: &str,
    ) -> Result<String, tonic::Code> {
        let request = RequestErasureRequest {
            person: Some(meant(person)),
            reason: "she asked for it".into(),
            request_id: request_id.into(),
        };
        let request = self.app.request(whose, "dora", request);
        let answer = self
            .privacy()
            .request_erasure(request)
            .await
            .map_err(|s| s.code())?
            .into_inner();
        Ok(answer.request.expect("a request").privacy_request_id)
    }

    pub async fn request_erasure(&self, whose: &str, person: &Person, request_id: &str) -> String {
        self.try_erasure(whose, person, request_id).await.expect("asked")
    }

    pub async fn get(&self, whose: &str, id: &str) -> PrivacyRequest {
        let request = GetPrivacyRequestRequest {
            privacy_request_id: id.into(),
        };
        let request = self.app.request(whose, "dora", request);
        let answer = self
            .privacy()
            .get_privacy_request(request)
            .await
            .expect("there")
            .into_inner();
        answer.request.expect("a request")
    }

    /// Who did what to somebody, newest first.
    pub async fn accesses(&self, whose: &str, person: &Person) -> Vec<String> {
        let request = ListAccessRequest {
            customer_id: person.customers[0].clone(),
            ..ListAccessRequest::default()
        };
        let request = self.app.request(whose, "eva", request);
        let answer = ProfileServiceClient::new(self.app.grpc())
            .list_access(request)
            .await;
        let entries = answer.expect("the log").into_inner().entries;
        entries
            .iter()
            .map(|e| format!("{} by {}", e.action, e.subject))
            .collect()
    }

    /// The files of an export, by name.
    pub async fn download(&self, whose: &str, id: &str) -> BTreeMap<String, Vec<u8>> {
        let request = DownloadExportRequest {
            privacy_request_id: id.into(),
        };
        let request = self.app.request(whose, "dora", request);
        let mut stream = self
            .privacy()
            .download_export(request)
            .await
            .expect("there")
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await.expect("a piece") {
            bytes.extend(piece.data);
        }
        let mut files = BTreeMap::new();
        for file in tar::Archive::new(bytes.as_slice()).entries().expect("a tar file") {
            let mut file = file.expect("an entry");
            let name = file.path().expect("a name").display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut content).expect("its content");
            files.insert(name, content);
        }
        files
    }
}

fn meant(person: &Person) -> wire::Person {
    wire::Person {
        person: Some(person::Person::CustomerId(person.customers[0].clone())),
    }
}

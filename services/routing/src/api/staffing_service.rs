//! Volumes, forecasts, staff, schedules.

mod asked;
mod told;

use tonic::{Request, Response, Status};
use trama_platform::{Error, principal};
use trama_proto::{
    ids::{AgentId, InvalidId},
    routing::v1::{self, staffing_service_server::StaffingService},
    time::from_wire,
};

use self::{
    asked::{csv, forecast_ask, moment, number, required_moment, shift_ask, staff_ask, zone},
    told::{adherence, points, proposal, series, side, taken},
};
use crate::app::staffing::{Staffing, WhatIfAsk};

/// Implements the contract.
pub struct StaffingApi {
    /// The use cases.
    pub staffing: Staffing,
}

#[tonic::async_trait]
impl StaffingService for StaffingApi {
    async fn import_volumes(
        &self,
        request: Request<v1::ImportVolumesRequest>,
    ) -> Result<Response<v1::ImportVolumesResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let (csv, zone) = (csv(&request.csv)?, zone("time_zone", &request.time_zone)?);
        let answer = |imported| {
            let (rows, errors) = taken(imported);
            v1::ImportVolumesResponse { rows, errors }
        };
        let key = (request.request_id.as_str(), request);
        Ok(Response::new(
            self.staffing
                .import_volumes(caller, csv, zone, key, answer)
                .await?,
        ))
    }

    async fn export_volumes(
        &self,
        request: Request<v1::ExportVolumesRequest>,
    ) -> Result<Response<v1::ExportVolumesResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let since = required_moment(
            "since",
            request.since.is_some(),
            from_wire(request.since.as_ref()),
        )?;
        let until = moment(
            "until",
            request.until.is_some(),
            from_wire(request.until.as_ref()),
        )?;
        let zone = zone("time_zone", &request.time_zone)?;
        let csv = self.staffing.export_volumes(&tenant, since, until, zone).await?;
        Ok(Response::new(v1::ExportVolumesResponse { csv }))
    }

    async fn forecast(
        &self,
        request: Request<v1::ForecastRequest>,
    ) -> Result<Response<v1::ForecastResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let ask = forecast_ask("", request.get_ref())?;
        let forecasts = self.staffing.forecast(&tenant, &ask).await?;
        Ok(Response::new(v1::ForecastResponse {
            series: series(forecasts, ask.since),
        }))
    }

    async fn required_staff(
        &self,
        request: Request<v1::RequiredStaffRequest>,
    ) -> Result<Response<v1::RequiredStaffResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let ask = staff_ask("", request.get_ref())?;
        let shrinkage = ask.shrinkage;
        let staff = self.staffing.required(&tenant, ask).await?;
        Ok(Response::new(v1::RequiredStaffResponse {
            points: points(&staff, shrinkage),
            notes: staff.notes,
        }))
    }

    async fn what_if(
        &self,
        request: Request<v1::WhatIfRequest>,
    ) -> Result<Response<v1::WhatIfResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        if !(-100_000..=100_000).contains(&request.agents_delta) {
            return Err(Error::invalid("agents_delta", "must be from -100000 to 100000").into());
        }
        let ask = WhatIfAsk {
            forecast: forecast_ask(
                "forecast.",
                request
                    .forecast
                    .as_ref()
                    .unwrap_or(&v1::ForecastRequest::default()),
            )?,
            agents_delta: request.agents_delta,
            volume_factor: number("volume_factor", request.volume_factor, 1.0, 0.01, 100.0)?,
            target_factor: number("target_factor", request.target_factor, 1.0, 0.01, 100.0)?,
        };
        let played = self.staffing.what_if(&tenant, ask).await?;
        Ok(Response::new(v1::WhatIfResponse {
            now: Some(side(&played.now)),
            then: Some(side(&played.then)),
            runs: i32::try_from(played.runs).unwrap_or(i32::MAX),
            notes: played.notes,
        }))
    }

    async fn propose_shifts(
        &self,
        request: Request<v1::ProposeShiftsRequest>,
    ) -> Result<Response<v1::ProposeShiftsResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let ask = shift_ask(request.get_ref())?;
        Ok(Response::new(proposal(self.staffing.shifts(&tenant, ask).await?)))
    }

    async fn import_schedules(
        &self,
        request: Request<v1::ImportSchedulesRequest>,
    ) -> Result<Response<v1::ImportSchedulesResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let (csv, zone) = (csv(&request.csv)?, zone("time_zone", &request.time_zone)?);
        let answer = |imported| {
            let (rows, errors) = taken(imported);
            v1::ImportSchedulesResponse { rows, errors }
        };
        let key = (request.request_id.as_str(), request);
        Ok(Response::new(
            self.staffing
                .import_schedules(caller, csv, zone, key, answer)
                .await?,
        ))
    }

    async fn export_schedules(
        &self,
        request: Request<v1::ExportSchedulesRequest>,
    ) -> Result<Response<v1::ExportSchedulesResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let since = required_moment(
            "since",
            request.since.is_some(),
            from_wire(request.since.as_ref()),
        )?;
        let until = required_moment(
            "until",
            request.until.is_some(),
            from_wire(request.until.as_ref()),
        )?;
        let zone = zone("time_zone", &request.time_zone)?;
        let csv = self
            .staffing
            .export_schedules(&tenant, since, until, zone)
            .await?;
        Ok(Response::new(v1::ExportSchedulesResponse { csv }))
    }

    async fn get_adherence(
        &self,
        request: Request<v1::GetAdherenceRequest>,
    ) -> Result<Response<v1::GetAdherenceResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let since = required_moment(
            "since",
            request.since.is_some(),
            from_wire(request.since.as_ref()),
        )?;
        let until = moment(
            "until",
            request.until.is_some(),
            from_wire(request.until.as_ref()),
        )?;
        let agent = match request.agent_id.as_str() {
            "" => None,
            id => Some(
                id.parse::<AgentId>()
                    .map_err(|e: InvalidId| Error::invalid("agent_id", e.to_string()))?,
            ),
        };
        let agents = self.staffing.adherence(&tenant, agent, since, until).await?;
        Ok(Response::new(v1::GetAdherenceResponse {
            agents: agents.iter().map(adherence).collect(),
        }))
    }
}

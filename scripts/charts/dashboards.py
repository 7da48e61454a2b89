"""The Grafana dashboards as data: title, query, unit. Over metrics that the services have; tests hold them to it."""

# (panel, [(query, legend)], unit, width of 24)
MS = "s"
RATE = "reqps"

PLATFORM = [
    ("Calls by service", [('sum by (service) (rate(trama_rpc_calls_total{service=~"$service"}[$__rate_interval]))', "{{service}}")], RATE, 8),
    ("Calls that end with an error of ours", [('sum by (service) (rate(trama_rpc_calls_total{service=~"$service",code=~"2|13|14|15"}[$__rate_interval])) / sum by (service) (rate(trama_rpc_calls_total{service=~"$service"}[$__rate_interval]))', "{{service}}")], "percentunit", 8),
    ("Time of calls, 99 of 100 are faster", [('histogram_quantile(0.99, sum by (service, le) (rate(trama_rpc_seconds_bucket{service=~"$service"}[$__rate_interval])))', "{{service}}")], MS, 8),
    ("Calls by method", [('topk(10, sum by (method) (rate(trama_rpc_calls_total{service=~"$service"}[$__rate_interval])))', "{{method}}")], RATE, 12),
    ("Slowest methods, 99 of 100", [('topk(10, histogram_quantile(0.99, sum by (method, le) (rate(trama_rpc_seconds_bucket{service=~"$service"}[$__rate_interval]))))', "{{method}}")], MS, 12),
    ("Messages worked in by stage", [("sum by (stage) (rate(trama_stage_messages_total[$__rate_interval]))", "{{stage}}")], "ops", 8),
    ("Time of a batch, 95 of 100 are faster", [("histogram_quantile(0.95, sum by (stage, le) (rate(trama_stage_batch_seconds_bucket[$__rate_interval])))", "{{stage}}")], MS, 8),
    ("Retries and repeats", [("sum by (stage) (rate(trama_stage_retries_total[$__rate_interval]))", "{{stage}} again"), ("sum by (stage) (rate(trama_stage_duplicates_total[$__rate_interval]))", "{{stage}} repeated")], "ops", 8),
    ("Put aside (dead letters)", [("sum by (stage) (increase(trama_stage_dead_letters_total[$__range]))", "{{stage}}")], "short", 8),
    ("Published late (swept)", [("sum by (schema) (increase(trama_outbox_swept_total[$__range]))", "{{schema}}")], "short", 8),
    ("Resources refused", [("max(trama_resources_invalid)", "refused"), ("sum(increase(trama_resources_unreadable_total[$__range]))", "unreadable")], "short", 8),
    ("Not heard from the API server", [("max by (service) (trama_resources_watch_age_seconds)", "{{service}}")], MS, 8),
    ("Statuses of resources written", [("sum by (outcome) (rate(trama_resources_status_writes_total[$__rate_interval]))", "{{outcome}}")], "ops", 8),
    ("Resources: who writes, and who started without", [("sum(trama_resources_lease_held)", "hold the lease (one should)"), ("sum(trama_resources_from_snapshot)", "with kept ones"), ("sum(increase(trama_resources_watch_errors_total[$__range]))", "failed watches")], "short", 8),
    ("Calls without a right", [("sum by (service) (rate(trama_rpc_refused_total[$__rate_interval]))", "{{service}}")], RATE, 12),
    ("Web requests by route", [("sum by (route, status) (rate(trama_http_requests_total[$__rate_interval]))", "{{route}} {{status}}")], RATE, 12),
]

WALLBOARD = [
    ("Cases opened", [("sum(increase(trama_case_opened_total[1h]))", "in the last hour")], "short", 6),
    ("Cases resolved", [("sum(increase(trama_case_resolved_total[1h]))", "in the last hour")], "short", 6),
    ("First answer, mean", [("sum(rate(trama_case_first_answer_seconds_sum[1h])) / sum(rate(trama_case_first_answer_seconds_count[1h]))", "of cases resolved in the last hour")], MS, 6),
    ("Answered by the assistant", [("sum(increase(trama_case_self_service_total[1h]))", "in the last hour")], "short", 6),
    ("Offers to agents", [("sum(rate(trama_routing_offers_total[$__rate_interval]))", "offers")], "ops", 8),
    ("Given up while waiting", [("sum(increase(trama_routing_abandoned_total[1h]))", "in the last hour")], "short", 8),
    ("Where interactions go", [("sum by (placement) (rate(trama_case_interactions_total[$__rate_interval]))", "{{placement}}")], "ops", 8),
    ("Replies", [("sum(rate(trama_case_replies_total[$__rate_interval]))", "replies")], "ops", 8),
    ("Conditions that could not be decided", [("sum(increase(trama_routing_conditions_failed_total[1h]))", "in the last hour")], "short", 8),
    ("Cases joined", [("sum(increase(trama_case_joined_total[1h]))", "in the last hour")], "short", 8),
]

CHANNELS = [
    ("Webhooks by outcome", [("sum by (outcome) (rate(trama_ingest_webhooks_total[$__rate_interval]))", "{{outcome}}")], RATE, 12),
    ("Forged", [('sum(increase(trama_ingest_webhooks_total{outcome="forged"}[$__range]))', "forged")], "short", 4),
    ("In quarantine since", [("sum(increase(trama_ingest_quarantined_total[$__range]))", "deliveries")], "short", 4),
    ("Files given up", [('sum(increase(trama_ingest_media_total{outcome="given_up"}[$__range]))', "files")], "short", 4),
    ("Interactions taken in", [("sum(rate(trama_ingest_interactions_total[$__rate_interval]))", "interactions"), ("sum(rate(trama_ingest_receipts_total[$__rate_interval]))", "receipts")], "ops", 8),
    ("Mails by outcome", [("sum by (outcome) (rate(trama_ingest_mails_total[$__rate_interval]))", "{{outcome}}")], "ops", 8),
    ("Chats opened and refused", [("sum by (outcome) (rate(trama_ingest_chat_connections_total[$__rate_interval]))", "{{outcome}}")], "ops", 8),
    ("Messages out by what became of them", [("sum by (status) (rate(trama_notification_messages_total[$__rate_interval]))", "{{status}}")], "ops", 12),
    ("Failed for good by channel", [('sum by (kind) (rate(trama_notification_messages_total{status="failed"}[$__rate_interval])) / sum by (kind) (rate(trama_notification_messages_total{status=~"sent|failed"}[$__rate_interval]))', "{{kind}}")], "percentunit", 12),
    ("Providers' answer time, 95 of 100", [("histogram_quantile(0.95, sum by (kind, le) (rate(trama_notification_send_seconds_bucket[$__rate_interval])))", "{{kind}}")], MS, 8),
    ("Accounts refused", [("sum by (kind) (increase(trama_notification_dead_channels_total[$__range]))", "{{kind}}")], "short", 8),
    ("Held back by the persona", [("sum(increase(trama_notification_persona_blocked_total[$__range]))", "texts")], "short", 8),
]

SURVEYS = [
    ("Asked", [("sum by (kind) (increase(trama_survey_asked_total[$__range]))", "{{kind}}")], "short", 8),
    ("Answered", [("sum by (kind) (increase(trama_survey_responses_total[$__range]))", "{{kind}}")], "short", 8),
    ("Answered of those asked", [("sum by (kind) (increase(trama_survey_responses_total[$__range])) / sum by (kind) (increase(trama_survey_asked_total[$__range]))", "{{kind}}")], "percentunit", 8),
    ("Bad scores that opened a follow-up", [("sum by (kind) (increase(trama_survey_follow_ups_total[$__range]))", "{{kind}}")], "short", 8),
    ("Why asked or not", [("sum by (decision) (rate(trama_survey_decisions_total[$__rate_interval]))", "{{decision}}")], "ops", 8),
    ("Lost", [("sum(increase(trama_survey_undelivered_total[$__range]))", "not delivered"), ("sum(increase(trama_survey_lapsed_total[$__range]))", "lapsed"), ("sum(increase(trama_survey_ignored_answers_total[$__range]))", "answers nobody asked for")], "short", 8),
]

DASHBOARDS = {
    "platform": ("Trama: platform (rate, errors, duration)", PLATFORM),
    "wallboard": ("Trama: contact centre", WALLBOARD),
    "channels": ("Trama: channels", CHANNELS),
    "surveys": ("Trama: surveys", SURVEYS),
}


def panel(number: int, x: int, y: int, title: str, queries: list, unit: str, width: int) -> dict:
    # What is counted over a time is one number; what has a rate is a line.
    single = all("$__range" in query or "[1h]" in query for query, _ in queries)
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number,
        "type": "stat" if single else "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {"h": 8, "w": width, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "noValue": "0" if single else ""}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if single else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + place), "datasource": source, "expr": query, "legendFormat": legend, "instant": single, "range": not single}
            for place, (query, legend) in enumerate(queries)
        ],
    }


def dashboard(name: str) -> dict:
    title, panels = DASHBOARDS[name]
    placed, x, y = [], 0, 0
    for number, (heading, queries, unit, width) in enumerate(panels, 1):
        if x + width > 24:
            x, y = 0, y + 8
        placed.append(panel(number, x, y, heading, queries, unit, width))
        x += width
    variables = [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}]
    if any("$service" in query for _, queries, _, _ in panels for query, _ in queries):
        variables.append({
            "name": "service", "type": "query", "label": "Service", "multi": True, "includeAll": True, "allValue": ".*",
            "datasource": {"type": "prometheus", "uid": "${datasource}"}, "refresh": 2,
            "query": {"query": "label_values(trama_rpc_calls_total, service)", "refId": "services"},
            "current": {"text": "All", "value": "$__all"},
        })
    return {
        "uid": f"trama-{name}", "title": title, "tags": ["trama"], "schemaVersion": 39, "version": 1, "editable": True,
        "timezone": "browser", "refresh": "30s", "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables}, "panels": placed,
    }

"""The names of our metrics, as Prometheus has them.

Code that writes, reads or queries a metric takes the metric's name from here.
"""

from __future__ import annotations

# requests and batches
PHASE_SECONDS = "seatrial_request_phase_seconds"
PHASE_BUCKET, PHASE_COUNT = f"{PHASE_SECONDS}_bucket", f"{PHASE_SECONDS}_count"
REQUESTS = "seatrial_requests_total"
ROW_ERRORS = "seatrial_row_errors_total"
REFUSALS = "seatrial_refusals_total"
BATCH_ROWS = "seatrial_batch_rows"
BATCH_ROWS_COUNT, BATCH_ROWS_SUM = f"{BATCH_ROWS}_count", f"{BATCH_ROWS}_sum"
BATCH_COST = "seatrial_batch_cost"
BATCH_PADDING = "seatrial_batch_padding_ratio"
OUT_OF_MEMORY = "seatrial_batches_out_of_memory_total"
WAITING_ROWS = "seatrial_waiting_rows"
REQUESTS_WAITING = "seatrial_requests_waiting"
REQUESTS_RUNNING = "seatrial_requests_running"
PREDICTED_WAIT = "seatrial_predicted_wait_seconds"
PREDICTED_QUEUE = "seatrial_predicted_queue_seconds"

# versions
BUNDLE_INFO = "seatrial_bundle_info"
EXECUTION_INFO = "seatrial_execution_info"
MODEL_READY = "seatrial_model_ready"
LOAD_SECONDS = "seatrial_model_load_seconds"
LOAD_GATE = "seatrial_load_gate"
LOAD_GATE_KEPT = "seatrial_load_gate_kept"
LOAD_GATE_WORST_ERROR = "seatrial_load_gate_worst_error"
OBJECTIVE_SECONDS = "seatrial_objective_seconds"

# versions that are loaded on demand
DEMAND_LOADS = "seatrial_demand_loads_total"
DEMAND_LOAD_SECONDS = "seatrial_demand_load_seconds_total"
DEMAND_EVICTIONS = "seatrial_demand_evictions_total"
DEMAND_WAIT = "seatrial_demand_wait_seconds"
DEMAND_WAITING = "seatrial_demand_loads_waiting"
DEMAND_HELD = "seatrial_demand_models_held"
DEMAND_HELD_BYTES = "seatrial_demand_held_bytes"
DEMAND_LIMIT = "seatrial_demand_limit_bytes"

# what watches answers
DRIFT = "seatrial_drift_total"
DRIFT_REFERENCE = "seatrial_drift_reference"
DRIFT_SAMPLED = "seatrial_drift_sampled_total"
FEEDBACK = "seatrial_feedback_total"
FEEDBACK_ACCURACY = "seatrial_feedback_accuracy"
FEEDBACK_CALIBRATION_ERROR = "seatrial_feedback_calibration_error"
LIVE_PARITY_ERROR = "seatrial_live_parity_error"
LIVE_PARITY_ERROR_BUCKET = f"{LIVE_PARITY_ERROR}_bucket"
LIVE_PARITY_CHECKED = "seatrial_live_parity_checked_total"
LIVE_PARITY_VIOLATIONS = "seatrial_live_parity_violations_total"

# the process
IN_FLIGHT = "seatrial_requests_in_flight"
HELD_BYTES = "seatrial_held_bytes"
BUDGET_BYTES = "seatrial_budget_bytes"
RESIDENT_MEMORY = "seatrial_resident_memory_bytes"
DEVICE_MEMORY = "seatrial_device_memory_bytes"
LOG_DROPPED = "seatrial_log_lines_dropped_total"
LOOP_LAG = "seatrial_event_loop_lag_seconds"
STORE_FAULTS = "seatrial_store_faults"
CERTIFICATE_EXPIRY = "seatrial_tls_certificate_expiry_timestamp_seconds"
CERTIFICATE_RELOADS = "seatrial_tls_certificate_reloads_total"
WORKERS = "seatrial_workers"
WORKERS_LOST = "seatrial_workers_lost_total"

//! What is certain is never taken back, whatever the rest of the run does.

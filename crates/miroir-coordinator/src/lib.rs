//! Miroir coordinator: Raft consensus, planner, migration actors, gRPC services.

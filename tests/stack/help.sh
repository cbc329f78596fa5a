# shellcheck shell=bash
command_help() { echo "deps build stack demo test bench fuzz fmt lint lockstep"; }

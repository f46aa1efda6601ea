#!/bin/sh
# Copyright The Goshawk Authors.
# SPDX-License-Identifier: Apache-2.0

# Before the package is removed. "upgrade" as argument: a newer version replaces it, and the agent
# keeps running until then.
set -e

[ "$1" = remove ] || exit 0
command -v systemctl >/dev/null && [ -d /run/systemd/system ] || exit 0
systemctl disable --now goshawk-agent.service

#!/bin/sh
# Copyright The Goshawk Authors.
# SPDX-License-Identifier: Apache-2.0

# After an installation or an update of the package. An agent without a configuration is not
# started; one that runs is restarted, and continues an update that it was in.
set -e

command -v systemctl >/dev/null && [ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
[ -e /etc/goshawk-agent/config.yaml ] || exit 0
systemctl enable goshawk-agent.service
# --no-block: the package may be installed by a handler of this agent.
systemctl --no-block restart goshawk-agent.service

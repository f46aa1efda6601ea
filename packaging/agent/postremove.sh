#!/bin/sh
# Copyright The Goshawk Authors.
# SPDX-License-Identifier: Apache-2.0

# After the package was removed. Only a purge removes the state, which says which software is
# installed.
set -e

if [ "$1" = purge ]; then
	rm -rf /var/lib/goshawk-agent
fi
if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0
"use strict";

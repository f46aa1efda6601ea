// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// AllClosed reports whether every member that exists is in a closed bucket. A group without members
// is closed.
func AllClosed(c v1alpha1.Counts) bool { return c.Scheduled+c.Pending+c.InProgress == 0 }

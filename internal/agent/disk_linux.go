// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import "syscall"

// free returns the number of free bytes of the file system of a folder.
func free(folder string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:gosec,unconvert // the types differ between processors
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"errors"
	"os"
	"syscall"
)

// allocate reserves the bytes of a file on disk, so that a full disk is seen before the file is
// written. File systems that cannot reserve bytes are used without that.
func allocate(file *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	err := syscall.Fallocate(int(file.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return nil
	}
	return err
}

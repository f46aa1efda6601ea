// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// fetchAll downloads all artifacts of the action and discards them. The error is what the device
// reports as the reason of its failure.
func (f *Fleet) fetchAll(ctx context.Context, d *device) error {
	for _, artifact := range d.work.artifacts {
		asked := time.Now()
		size, err := f.fetch(ctx, d, artifact)
		f.tally.bytes.Add(size)
		if err != nil {
			return fmt.Errorf("download of %s: %w", artifact.Filename, err)
		}
		f.emit(Event{
			Kind: Downloaded, Device: d.ID, Action: d.work.id, Asked: asked, At: time.Now(),
			Message: fmt.Sprintf("%s, %d bytes", artifact.Filename, size),
		})
	}
	return nil
}

func (f *Fleet) fetch(ctx context.Context, d *device, artifact wire.Artifact) (int64, error) {
	request, err := f.request(ctx, d, http.MethodGet, artifact.Links.Preferred(), nil)
	if err != nil {
		return 0, err
	}
	response, err := f.client.Do(request)
	if err != nil {
		return 0, bare(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("answered %d", response.StatusCode)
	}
	sum, want := checksum(artifact.Hashes)
	size, err := io.Copy(sum, response.Body)
	switch got := hex.EncodeToString(sum.Sum(nil)); {
	case err != nil:
		return size, err
	case size != artifact.Size:
		return size, fmt.Errorf("%d bytes instead of %d", size, artifact.Size)
	case want != "" && !strings.EqualFold(got, want):
		return size, fmt.Errorf("checksum %s instead of %s", got, want)
	}
	return size, nil
}

// checksum returns the strongest hash that was given.
func checksum(hashes wire.Hashes) (hash.Hash, string) {
	if hashes.SHA256 == "" && hashes.SHA1 != "" {
		return sha1.New(), hashes.SHA1
	}
	return sha256.New(), hashes.SHA256
}

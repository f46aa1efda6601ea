// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
)

var screenshots = flag.String("screenshots", "", "write the pictures of the documentation into this folder")

// TestScreenshots writes the pictures of the documentation. `make screenshots` runs it.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("no pictures are written without -screenshots FOLDER")
	}
	s := newStage(t)
	for _, picture := range []struct {
		file, path    string
		width, height int
		dark          bool
	}{
		{"console-fleet.png", "", 1200, 900, false},
		{"console-rollout.png", "rollouts/fleet/gateway-2-1", 1200, 1060, false},
		{"console-invalidate.png", "actions/sets/fleet/gateway-2-1/invalidate?type=Force&reason=bricks+the+modem", 1200, 1250, false},
		{"console-target.png", "targets/fleet/gateway-031", 1200, 1000, true},
		{"console-phone.png", "rollouts/fleet/gateway-2-1", 360, 760, false},
	} {
		tab := s.as(t, "stan", "", chromium.Options{Width: picture.width, Height: picture.height, Dark: picture.dark})
		tab.Visit(s.url + picture.path)
		if tab.Has("main[data-live]") {
			tab.Await(`document.getElementById("asof").textContent === "live"`)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, picture.file), small(t, tab.Screenshot()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// small returns a picture (PNG) with its 256 most frequent colors, which is a third as large.
func small(t *testing.T, picture []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	frequency := map[color.RGBA]int{}
	for y := full.Bounds().Min.Y; y < full.Bounds().Max.Y; y++ {
		for x := full.Bounds().Min.X; x < full.Bounds().Max.X; x++ {
			frequency[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(frequency), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(frequency[b], frequency[a]), slices.Compare([]uint8{a.R, a.G, a.B}, []uint8{b.R, b.G, b.B}))
	})
	palette := color.Palette{}
	for _, c := range colors[:min(256, len(colors))] {
		palette = append(palette, c)
	}
	reduced := image.NewPaletted(full.Bounds(), palette)
	draw.Draw(reduced, full.Bounds(), full, full.Bounds().Min, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, reduced); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strings"
)

//go:embed static/console.css
var styles string

//go:embed static/console.js
var script string

//go:embed static/icon.svg
var icon string

// asset is a file of the console. Its path has the hash of its content, so browsers may keep it for
// ever.
type asset struct{ path, contentType, content string }

var assets = []asset{
	newAsset("console", ".css", "text/css; charset=utf-8", styles),
	newAsset("console", ".js", "text/javascript; charset=utf-8", script),
	newAsset("icon", ".svg", "image/svg+xml", icon),
}

func newAsset(name, extension, contentType, content string) asset {
	sum := sha256.Sum256([]byte(content))
	return asset{"/static/" + name + "-" + hex.EncodeToString(sum[:6]) + extension, contentType, content}
}

// assetPath returns the path of the asset with that extension.
func assetPath(extension string) string {
	for _, a := range assets {
		if strings.HasSuffix(a.path, extension) {
			return a.path
		}
	}
	return ""
}

func serveStatic(w http.ResponseWriter, r *http.Request) {
	for _, a := range assets {
		if r.URL.Path == a.path {
			w.Header().Set("Content-Type", a.contentType)
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			writeBody(w, r, http.StatusOK, []byte(a.content))
			return
		}
	}
	http.NotFound(w, r)
}

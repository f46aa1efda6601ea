// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package unreadable

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A process that starts before its API server waits: first no server listens, then a server that
// never responds, then the API server.
func TestAProcessThatStartsBeforeItsAPIServerWaitsForIt(t *testing.T) {
	w := newWorld(t)
	config, _ := cluster.Start(t)
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	address := ports.Free(t)
	config.Host = "https://" + address
	g, deviceAPI, stop := run(t, config)
	t.Cleanup(stop)
	w.DeviceAPI = deviceAPI
	waits := func(why string) {
		t.Helper()
		w.Eventually(why+": the process runs and is not ready", func() string {
			health, _, err := get(g.health, "/healthz")
			ready, _, _ := get(g.health, "/readyz")
			if err != nil || health != http.StatusOK || ready != http.StatusInternalServerError {
				return "not yet"
			}
			return ""
		})
		if got := poll(t, w, "device-000"); got != http.StatusServiceUnavailable {
			t.Errorf("%s: a device gets %d", why, got)
		}
	}
	waits("no server listens")
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := listener.Accept() // the process retries every two seconds
	if err != nil {
		t.Fatal(err)
	}
	waits("the server does not respond")
	_ = silent.Close()
	go forward(listener, server.Host)
	t.Cleanup(func() { _ = listener.Close() })
	g.ready(w)
	w.Set("firmware-1", "1.0")
	w.Devices(devicesim.Obedient, w.Targets("device", 2, nil)...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`)
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
}

// forward forwards every connection to an address.
func forward(listener net.Listener, to string) {
	for {
		in, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				return
			}
			var both sync.WaitGroup
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				both.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
			both.Wait()
		}()
	}
}

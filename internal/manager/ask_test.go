// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// logged collects the log.
var logged struct {
	sync.Mutex
	text string
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(funcr.New(func(_, args string) {
		logged.Lock()
		defer logged.Unlock()
		logged.text += args + "\n"
	}, funcr.Options{}))
	m.Run()
}

// TestAProcessWaitsForItsAPIServer: a process whose API server is unavailable, broken or does not
// respond does not end. It logs what it waits for, and is live but not ready.
func TestAProcessWaitsForItsAPIServer(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"503":                    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "returns 503"},
		"without CRDs":           {http.NotFound, "CustomResourceDefinitions of goshawk.dev/v1alpha1"},
		"without rights":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "returns 403"},
		"hangs":                  {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "deadline exceeded"},
		"closes the connection":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"refuses the connection": {nil, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := ports.Free(t)
			if tt.answer != nil {
				server := httptest.NewServer(tt.answer)
				t.Cleanup(server.Close)
				address = server.Listener.Addr().String()
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			o := Options{Controllers: true, DeviceAPI: true, Namespace: "goshawk-system", MetricsAddress: "0", HealthAddress: ports.Free(t), WritesInFlight: 1, DeviceAPIListener: listener}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- Run(ctx, &rest.Config{Host: "http://" + address}, o) }()
			eventually(t, "the log says what the process waits for", func() bool {
				logged.Lock()
				defer logged.Unlock()
				for line := range strings.Lines(logged.text) {
					if strings.Contains(line, "cannot work at the moment and retries") && strings.Contains(line, tt.says) {
						return true
					}
				}
				return false
			})
			eventually(t, "/healthz is 200 and /readyz 500", func() bool {
				return code(o.HealthAddress, "/healthz") == http.StatusOK && code(o.HealthAddress, "/readyz") == http.StatusInternalServerError
			})
			select {
			case err := <-done:
				t.Fatalf("the process ended: %v", err)
			default:
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("when its context ends, the process ends with %v", err)
			}
		})
	}
}

// code returns the status code of a request, or 0 if there is no response.
func code(address, path string) int {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout while waiting for: %s", what)
		}
	}
}

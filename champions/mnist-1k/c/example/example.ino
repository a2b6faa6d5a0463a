// Arduino: copy net.c, net.h and vectors.h into this folder, open it, upload.
// For boards of 32 bits (Arm, ESP32, RP2040); AVR boards such as the Uno are not supported.
#include "net.h"
#include "vectors.h"

void setup() {
  Serial.begin(115200);
}

void loop() {
  // In place of a stored image: what your camera or sensor has seen, in NAS_HEIGHT rows of NAS_WIDTH.
  for (int i = 0; i < NAS_NUM_VECTORS; i++) {
    const unsigned long start = micros();
    const int label = nas_predict(vector_pixels[i]);
    const unsigned long took = micros() - start;
    Serial.print(nas_classes[label]);
    Serial.print(" in us: ");
    Serial.println(took);
  }
  delay(5000);
}
